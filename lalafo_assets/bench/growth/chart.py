"""Draws the figures of `lalafo bench growth`: the time of each operation by the number of ads."""

from collections.abc import Mapping, Sequence
from pathlib import Path

_SIZE_INCHES = (10.0, 6.0)
_DPI = 120
_ROOM_FOR_LEGENDS = 10.0  # on a logarithmic axis
_GROUPS = {
    "the gateway": ("lookup", "list_", "statistics", "notices", "feedback"),
    "sessions": ("commit_", "lost_ads"),
    "releases": ("propose", "close_a_day", "promote", "rollback"),
    "upkeep": ("upkeep_",),
}


def draw(path: Path, sizes: Sequence[int], medians: Mapping[int, Mapping[str, float]]) -> None:
    """Write a PNG with a panel for each group of operations; both axes are logarithmic.

    Args:
        medians: milliseconds by size and operation.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex=True, sharey=True).flat
    longest_ms = max(max(of_size.values()) for of_size in medians.values())
    for axes, (title, prefixes) in zip(panels, _GROUPS.items(), strict=True):
        for name in medians[sizes[0]]:
            if name.startswith(prefixes):
                times_ms = [medians[size][name] for size in sizes]
                axes.plot(sizes, times_ms, marker="o", label=name.replace("_", " "))
        axes.set(title=title, xscale="log", yscale="log")
        axes.set_ylim(top=longest_ms * _ROOM_FOR_LEGENDS)
        axes.grid(True, which="both", alpha=0.2)
        axes.legend(fontsize="x-small", loc="upper left", ncols=3)
    figure.supxlabel("ads")
    figure.supylabel("median, ms")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
