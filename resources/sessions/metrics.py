"""A session's Prometheus metrics, served over HTTP by the session itself.

Owns names, labels and buckets. Gauges are read from the session at each scrape; counters and
histograms are updated at each commit. Each session has its own registry, so that two sessions in
one process (in tests) are separate.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from types import TracebackType
from typing import Self

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ops.errors import Reason
from ops.outcomes import Batch, CommitResult
from ops.session.pipeline import Snapshot
from resources.postgres.connections import open_connections
from resources.processes.collector import CollectorPauses
from resources.processes.metrics_server import MetricsServer
from resources.sessions.deferred.process import Report
from resources.sessions.deferred.queue import Depth
from resources.settings import Settings

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
STAGES = ("fetch", "photos", "queued", "embed", "predict")

Committed = Callable[[Batch, CommitResult], None]


class SessionMetrics:
    """The metrics of one session; a context manager that serves them while it is open.

    Entering it raises ConfigurationError where no port is free.
    """

    def __init__(self, settings: Settings) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # prometheus_client's own
        self.registry = CollectorRegistry()
        self._server = MetricsServer(self.registry, settings.metrics_host, settings.metrics_port)
        self._snapshot: Callable[[], Snapshot] | None = None
        self._lags: Callable[[], Mapping[int, int]] = dict
        self._stopped: Callable[[], Collection[int]] = tuple
        self.url = ""
        self.events = Counter(
            "lalafo_events", "Events committed, by outcome.", ["outcome"], registry=self.registry
        )
        self.photos = Counter("lalafo_photos", "Photos of committed ads.", registry=self.registry)
        self.failures = Counter(
            "lalafo_failures",
            "Rejected events, failed photos and failed tasks of ads, by reason.",
            ["kind", "reason"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "lalafo_ad_latency_seconds",
            "Time from the Kafka timestamp to the committed row.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.stage = Histogram(
            "lalafo_stage_seconds",
            "Time of an ad in each stage.",
            ["stage"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.batch = Histogram(
            "lalafo_commit_ads", "Ads per commit.", buckets=_SIZES, registry=self.registry
        )
        self.deferred_ads = Counter(
            "lalafo_deferred_done",
            "Ads whose tasks after their path are over, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.deferred_seconds = Counter(
            "lalafo_deferred_seconds",
            "Time that tasks after the ad's path took.",
            ["task"],
            registry=self.registry,
        )
        self.deferred_photos = Counter(
            "lalafo_deferred_photos",
            "Photos of ads that tasks after the ad's path have run for.",
            ["task"],
            registry=self.registry,
        )
        self._waiting: Depth | None = None
        self._committed: dict[int, tuple[int, int]] = {}  # by partition: epoch and next offset
        self._pauses = CollectorPauses("lalafo_gc_pause_seconds")
        self.registry.register(self)
        self.registry.register(self._pauses)

    def __enter__(self) -> Self:
        self.url = self._server.start()
        if self.url:
            self._pauses.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.url:
            self._pauses.stop()
            self._server.stop()

    def watch(
        self,
        snapshot: Callable[[], Snapshot],
        lags: Callable[[], Mapping[int, int]],
        stopped: Callable[[], Collection[int]] = tuple,
    ) -> None:
        """Read the gauges from this session; the lags and stopped partitions from its consumer."""
        self._snapshot, self._lags, self._stopped = snapshot, lags, stopped

    def count_incident(self, reason: Reason) -> None:
        """Count an incident of the topic."""
        self.failures.labels("stream", reason.value).inc()

    def deferred(self, report: Report) -> None:
        """Count what the worker for tasks after the ad's path has done."""
        self._waiting = report.waiting
        for outcome in ("scored", "dropped", "failed"):
            self.deferred_ads.labels(outcome).inc(getattr(report, outcome))
        for task, (seconds, photos) in report.seconds.items():
            self.deferred_seconds.labels(task).inc(seconds)
            self.deferred_photos.labels(task).inc(photos)

    def following(self, committed: Committed) -> Committed:
        """Wrap a callback for commits: call it, then count the commit."""

        def call_and_count(batch: Batch, result: CommitResult) -> None:
            committed(batch, result)
            self._count(batch, result)

        return call_and_count

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield what is read from the session; prometheus_client calls this at each scrape."""
        if self._snapshot is None:
            return
        now = self._snapshot()
        owned = GaugeMetricFamily(
            "lalafo_partition_epoch",
            "Lease epoch of each partition that this session reads.",
            labels=["partition"],
        )
        for partition, epoch in now.partitions.items():
            owned.add_metric([str(partition)], epoch)
        yield owned
        lag = GaugeMetricFamily(
            "lalafo_lag_events", "Events on the topic, not read yet.", labels=["partition"]
        )
        for partition, count in self._lags().items():
            lag.add_metric([str(partition)], count)
        yield lag
        stopped = GaugeMetricFamily(
            "lalafo_partition_stopped",
            "1 for a partition that is not read on: its next records can't be decoded.",
            labels=["partition"],
        )
        for partition in self._stopped():
            stopped.add_metric([str(partition)], 1)
        yield stopped
        offsets = GaugeMetricFamily(
            "lalafo_committed_offset", "Committed next offset to read.", labels=["partition"]
        )
        for partition, (epoch, offset) in self._committed.items():
            if now.partitions.get(partition) == epoch:  # else another session moves it
                offsets.add_metric([str(partition)], offset)
        yield offsets
        queued = GaugeMetricFamily(
            "lalafo_in_flight", "Work that is started and not committed yet.", labels=["what"]
        )
        for what, count in (
            ("events", now.events_in_flight),
            ("photos", now.photos_in_flight),
            ("ads_at_photos", now.ads_at_photos),
            ("ads_at_model", now.ads_at_model),
            ("batches_at_commit", now.batches_at_commit),
        ):
            queued.add_metric([what], count)
        yield queued
        waiting = self._waiting
        yield GaugeMetricFamily(
            "lalafo_deferred_ads",
            "Ads whose tasks after their path are still to run, of all sessions.",
            value=None if waiting is None else waiting.ads,
        )
        yield GaugeMetricFamily(
            "lalafo_deferred_oldest_seconds",
            "Time that the first of these ads has waited.",
            value=None if waiting is None else waiting.oldest_s,
        )
        unavailable = GaugeMetricFamily(
            "lalafo_waiting_seconds", "Time waited for an unavailable service.", labels=["for"]
        )
        for what, seconds in now.waiting_for_s.items():
            unavailable.add_metric([what], seconds)
        yield unavailable
        errors = CounterMetricFamily(
            "lalafo_internal_errors",
            "Exceptions that no stage expects; the ad or photo failed.",
            labels=["stage"],
        )
        for stage, count in now.internal_errors.items():
            errors.add_metric([stage], count)
        yield errors
        yield GaugeMetricFamily(
            "lalafo_database_connections",
            "Connections to PostgreSQL that this process has open.",
            open_connections(),
        )
        yield GaugeMetricFamily(
            "lalafo_resident_bytes",
            "Resident memory of the process.",
            psutil.Process().memory_info().rss,
        )
        yield GaugeMetricFamily(
            "lalafo_gpu_reserved_bytes", "GPU memory reserved by torch.", _gpu_reserved_bytes()
        )

    def _count(self, batch: Batch, result: CommitResult) -> None:
        self.batch.observe(len(batch.ads))
        epochs = {} if self._snapshot is None else self._snapshot().partitions
        self._committed = {
            p: at for p, at in self._committed.items() if p in epochs and at[0] == epochs[p]
        } | {p: (epochs[p], offset) for p, offset in batch.next_offsets.items() if p in epochs}
        self.events.labels("superseded").inc(batch.superseded)
        for letter in batch.dead_letters:
            self.events.labels("dead_letter").inc()
            self.failures.labels("event", letter.failure.reason.value).inc()
        for ad in batch.ads:
            if ad.event.key not in result.accepted:
                self.events.labels("unchanged").inc()
                continue
            self.events.labels(ad.status.value).inc()
            self.photos.inc(len(ad.photos))
            self.latency.observe((result.committed_at - ad.receipt.kafka_at).total_seconds())
            for stage in STAGES:
                self.stage.labels(stage).observe(getattr(ad.times, f"{stage}_ms") / 1e3)
            for photo in ad.photos:
                if photo.failure is not None:
                    self.failures.labels("photo", photo.failure.reason.value).inc()
            for failed in ad.task_failures:
                self.failures.labels("task", failed.failure.reason.value).inc()


def _gpu_reserved_bytes() -> int:
    """Return the GPU memory that torch has reserved, in bytes; 0 without torch or a GPU."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.memory_reserved())
