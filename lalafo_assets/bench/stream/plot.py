"""Draws latency over time: the session and the baseline, with the kill and the handovers."""

from pathlib import Path

from lalafo_assets.bench.harness.figures import latencies_ms
from lalafo_assets.bench.stream.measured_runs import Measured

_SIZE_INCHES = (9.0, 4.5)
_DPI = 120
SESSION, BASELINE = "#1f77b4", "#b0b0b0"


def draw(path: Path, baseline: Measured, session: Measured, *, title: str) -> None:
    """Write a PNG with a point per ad, at the second it was sent; latency on a log scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for measured, colour, name in ((baseline, BASELINE, "baseline"), (session, SESSION, "session")):
        latest = measured.drained_at if measured.killed_at is None else measured.killed_at
        sent = [ad.kafka_at - measured.began_at for ad in measured.timings]
        latencies = latencies_ms(measured.timings, latest=latest)
        axes.scatter(sent, latencies, s=7, alpha=0.7, color=colour, label=name, linewidths=0)
    if session.killed_at is not None:
        axes.axvline(session.killed_at - session.began_at, color="#d62728", label="kill -9")
    for number, at in enumerate(_handovers(session)):
        label = "another run takes over" if number == 0 else None
        axes.axvline(at - session.began_at, color="#2ca02c", linestyle="--", label=label)
    axes.set_yscale("log")
    axes.set(title=title, xlabel="seconds", ylabel="Kafka timestamp to committed row, ms")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)


def _handovers(session: Measured) -> list[float]:
    """When each run committed its first ad, without the first run."""
    first: dict[str, float] = {}
    for ad in session.timings:
        if ad.committed_at is not None:
            first[ad.run_id] = min(first.get(ad.run_id, ad.committed_at), ad.committed_at)
    return sorted(first.values())[1:]
