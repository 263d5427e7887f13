"""Measures the product beside its peers: the stack with two sessions, and the stream's baseline."""

from collections.abc import Callable
from pathlib import Path

from lalafo_assets.bench.harness.cpu import SESSIONS
from lalafo_assets.bench.harness.feed import warm_sessions
from lalafo_assets.bench.harness.place import Progress, open_place
from lalafo_assets.bench.harness.sessions import Sessions
from lalafo_assets.bench.peers.figures import Run, Stored, window
from lalafo_assets.bench.peers.options import PeersBench
from lalafo_assets.bench.stream.measured_runs import Measured, measure_baseline, measure_session
from ops.errors import LalafoError

PRODUCT, BASELINE = "product", "stream_baseline"


def measure_product(
    bench: PeersBench, home: Path, *, on_progress: Callable[[str], object], step: Progress
) -> dict[str, Run]:
    """Start the stack, measure the stream's baseline and the product, and stop the stack.

    Raises:
        LalafoError: a server did not start, or an ad was lost or doubled.
    """
    stream = bench.stream
    with open_place(stream, home, on_progress=on_progress, step=step) as place:
        sessions = Sessions(
            place.database,
            place.stream.stream_id(),
            place.settings.ads_topic,
            len(place.stream.partitions()),
            tuple(place.stack.pids),
        )
        on_progress("waiting for the sessions that the sensor starts")
        warm_sessions(stream, place, sessions, step)
        baseline = measure_baseline(stream, place, sessions, step)
        product = measure_session(stream, place, sessions, step)
    verdict = product.verdict
    assert verdict is not None
    if verdict.lost or verdict.doubled:
        raise LalafoError(f"lost {verdict.lost}, doubled {verdict.doubled}: the run is invalid")
    return {
        PRODUCT: _run(product, SESSIONS, stream.photo_count),
        BASELINE: _run(baseline, "baseline", stream.photo_count),
    }


def _run(measured: Measured, group: str, photos: int) -> Run:
    """Both were warmed up before: all their CPU time counts, over all photos."""
    stored = [
        Stored(ad.run_id, ad.committed_at, ad.photos)
        for ad in measured.timings
        if ad.committed_at is not None
    ]
    return Run(window(stored).photos_per_s, measured.cpu_s[group] * 1000 / photos)
