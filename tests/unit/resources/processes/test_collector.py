"""Pauses of Python's garbage collector are measured, and what is loaded is not searched again."""

import gc
import subprocess
import sys

from prometheus_client import CollectorRegistry

from resources.processes.collector import CollectorPauses


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """The number of collections by generation, and the seconds of all of them."""
    found = {}
    for generation in "012":
        labels = {"generation": generation}
        count = registry.get_sample_value("lalafo_gc_pause_seconds_count", labels)
        inf = registry.get_sample_value("lalafo_gc_pause_seconds_bucket", {**labels, "le": "+Inf"})
        seconds = registry.get_sample_value("lalafo_gc_pause_seconds_sum", labels)
        assert count == inf and seconds is not None
        found[generation] = count
        assert (seconds > 0) == (count > 0)
    return found


def test_every_collection_between_start_and_stop_is_counted() -> None:
    registry, pauses = CollectorRegistry(), CollectorPauses("lalafo_gc_pause_seconds")
    registry.register(pauses)
    gc.collect()
    assert samples(registry) == {"0": 0, "1": 0, "2": 0}
    gc.disable()
    try:
        pauses.start()
        for generation, times in ((0, 3), (1, 2), (2, 1)):
            for _ in range(times):
                gc.collect(generation)
        pauses.stop()
        gc.collect()
    finally:
        gc.enable()
    assert samples(registry) == {"0": 3, "1": 2, "2": 1}


def test_what_is_loaded_is_frozen() -> None:
    """In a process of its own: the freeze holds for the rest of a process."""
    code = (
        "import gc, json, asyncio; from resources.processes.collector import freeze_loaded; "
        "freeze_loaded(); print(gc.get_freeze_count(), len(gc.get_objects()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    frozen, searched = map(int, done.stdout.split())
    assert frozen > 10_000
    assert searched < frozen / 10
