"""The Prometheus metrics of a worker that follows commits, served by its process.

Owns names, labels and buckets. What waits is read from PostgreSQL at each scrape; what the worker
did, from its counts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ops.errors import LalafoError
from resources.processes.metrics_server import MetricsServer
from resources.settings import Settings

_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 300, 1800)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for a worker."""

    ads: int
    oldest_s: float  # 0: the queue is empty


class WorkerMetrics:
    """The metrics of one worker; a context manager that serves them while it is open.

    Entering it raises ConfigurationError where no port is free.

    Args:
        worker: the value of the label `worker`.
        counts: a dataclass of numbers that the worker counts in.
        waiting: reads what waits.
    """

    def __init__(
        self, settings: Settings, *, worker: str, counts: Any, waiting: Callable[[], Queue]
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # prometheus_client's own
        self.registry = CollectorRegistry()
        self.url = ""
        self._worker, self._counts, self._waiting = worker, counts, waiting
        self._server = MetricsServer(self.registry, settings.metrics_host, settings.metrics_port)
        self._lag = Histogram(
            "lalafo_worker_lag_seconds",
            "Time from an ad's commit until the worker has done it.",
            ["worker"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._searches = Counter(
            "lalafo_photo_searches",
            "Photos of searches that were embedded, or why not.",
            ["answer"],
            registry=self.registry,
        )
        self._search_seconds = Histogram(
            "lalafo_photo_search_seconds",
            "Time from taking a photo of a search to its answer.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(self)

    def __enter__(self) -> Self:
        self.url = self._server.start()
        if self.url:
            log.info("worker.metrics", worker=self._worker, url=self.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()

    def done(self, lags_s: Sequence[float]) -> None:
        """Count changes that are done; `lags_s` are the seconds since their commits."""
        for lag_s in lags_s:
            self._lag.labels(self._worker).observe(lag_s)

    def searched(self, answer: str, seconds: float) -> None:
        """Count a photo of a search: `vector`, or the reason why it has none."""
        self._searches.labels(answer).inc()
        self._search_seconds.observe(seconds)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """What waits and what was done; the registry calls this at each scrape."""
        done = CounterMetricFamily(
            "lalafo_worker_done", "What a worker did.", labels=["worker", "what"]
        )
        for what, count in asdict(self._counts).items():
            done.add_metric([self._worker, what], count)
        yield done
        try:
            queue = self._waiting()
        except (LalafoError, psycopg.Error) as error:  # the other metrics are still served
            log.warning("worker.metrics_incomplete", error=str(error))
            return
        for name, help_text, value in (
            ("lalafo_worker_waiting", "Changes of ads that wait for the worker.", queue.ads),
            (
                "lalafo_worker_oldest_seconds",
                "Time that the first of these changes has waited.",
                queue.oldest_s,
            ),
        ):
            family = GaugeMetricFamily(name, help_text, labels=["worker"])
            family.add_metric([self._worker], value)
            yield family
