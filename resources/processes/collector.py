"""Python's garbage collector in a process that must not pause: what it need not search, and how
long it takes."""

import gc
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping

from prometheus_client.core import HistogramMetricFamily

PAUSES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
GENERATIONS = (0, 1, 2)


def freeze_loaded() -> None:
    """Collect once, and leave what is loaded out of every later collection.

    Modules, models and clients live as long as the process. Without this each full collection looks
    through all of them, hundreds of thousands of objects, while every thread waits.
    """
    gc.collect()
    gc.freeze()


class CollectorPauses:
    """Measures the collector's pauses of all threads; a Prometheus collector.

    The callback runs inside of whatever allocation started the collection, maybe under a lock of
    the metrics' library: it takes no lock, and only adds to numbers.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._counts = {generation: [0] * (len(PAUSES_S) + 1) for generation in GENERATIONS}
        self._sums = dict.fromkeys(GENERATIONS, 0.0)
        self._started = 0.0

    def start(self) -> None:
        """Measure from now on."""
        gc.callbacks.append(self._measure)

    def stop(self) -> None:
        """Measure no more."""
        gc.callbacks.remove(self._measure)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram; prometheus_client calls this at each scrape."""
        family = HistogramMetricFamily(
            self.name,
            "Pauses of all threads by Python's garbage collector.",
            labels=["generation"],
        )
        for generation in GENERATIONS:
            total, buckets = 0, []
            bounds = (*map(str, PAUSES_S), "+Inf")
            for bound, count in zip(bounds, list(self._counts[generation]), strict=True):
                total += count
                buckets.append((bound, float(total)))
            family.add_metric([str(generation)], buckets, self._sums[generation])
        yield family

    def _measure(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._started = time.perf_counter()
            return
        seconds, generation = time.perf_counter() - self._started, info["generation"]
        self._counts[generation][bisect_left(PAUSES_S, seconds)] += 1
        self._sums[generation] += seconds
