"""Pictures of what a promotion would change: where ads move, and how their scores do.

Decides colours and sizes; knows nothing of releases. matplotlib is imported on use.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ops.pictures.previews import BAR, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WRITTEN_LABELS = 24
"""With more labels than these a matrix shows colours only."""


def flow_matrix(matrix: NDArray[np.int64], labels: Sequence[str]) -> bytes:
    """(C, C) ads, rows live, columns candidate, as PNG; those that stay are left blank.

    One without labels says that no ad moves.
    """
    side = 3.0 if not labels else min(9.0, 2.4 + 0.34 * len(labels))
    figure, axes = _figure("Ads that change their label", (side + 0.6, side))
    if not labels:
        axes.text(0.5, 0.5, "no ad moves", ha="center", transform=axes.transAxes)
        return _png(figure)
    moved = matrix.astype(np.float64)
    np.fill_diagonal(moved, 0.0)
    axes.imshow(moved, cmap="Oranges", vmin=0, vmax=max(1.0, float(moved.max())))
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_xlabel("candidate", fontsize=8)
    axes.set_ylabel("live", fontsize=8)
    if len(labels) <= WRITTEN_LABELS:
        for (row, column), count in np.ndenumerate(moved):
            if count > 0:
                colour = "white" if count > 0.6 * moved.max() else INK
                message = f"{count:,.0f}"
                axes.text(column, row, message, ha="center", va="center", fontsize=6, color=colour)
    return _png(figure)


def shift_bars(counts: NDArray[np.int64]) -> bytes:
    """(B,) ads by how far their score moved, in equal bins from -1 to 1, as PNG."""
    figure, axes = _figure("How far the score of the label chosen moves", (5.6, 3.0))
    width = 2 / len(counts)
    centres = np.linspace(-1 + width / 2, 1 - width / 2, len(counts))
    axes.bar(centres, counts, width=width * 0.92, color=BAR)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("candidate less live", fontsize=8)
    axes.set_ylabel("ads", fontsize=8)
    return _png(figure)


def _figure(title: str, size: tuple[float, float]) -> "tuple[Figure, Axes]":
    # Figure without pyplot: no global state, no backend, safe in threads.
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=90, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, color=INK)
    axes.tick_params(labelsize=8)
    return figure, axes


def _png(figure: "Figure") -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
