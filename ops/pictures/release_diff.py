"""Draws what a promotion would change: labels of ads, and their scores.

Owns sizes and colours. Does not depend on releases. matplotlib is imported on first use.
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

MAX_LABELS_WITH_COUNTS = 24
"""With more labels a matrix shows only colours."""


def flow_matrix(matrix: NDArray[np.int64], labels: Sequence[str]) -> bytes:
    """Draw a (C, C) matrix of ads as PNG, rows live, columns candidate, without the diagonal.

    Without labels the image says that no ad changes.
    """
    side = 3.0 if not labels else min(9.0, 2.4 + 0.34 * len(labels))
    figure, axes = _figure("Ads that change their label", (side + 0.6, side))
    if not labels:
        axes.text(0.5, 0.5, "no ad changes its label", ha="center", transform=axes.transAxes)
        return _png(figure)
    moved = matrix.astype(np.float64)
    np.fill_diagonal(moved, 0.0)
    axes.imshow(moved, cmap="Oranges", vmin=0, vmax=max(1.0, float(moved.max())))
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_xlabel("candidate", fontsize=8)
    axes.set_ylabel("live", fontsize=8)
    if len(labels) <= MAX_LABELS_WITH_COUNTS:
        for (row, column), count in np.ndenumerate(moved):
            if count > 0:
                colour = "white" if count > 0.6 * moved.max() else INK
                text = f"{count:,.0f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    return _png(figure)


def shift_bars(counts: NDArray[np.int64]) -> bytes:
    """Draw (B,) ads by the change of their score, in equal bins from -1 to 1, as PNG."""
    figure, axes = _figure("Change of the predicted label's score", (5.6, 3.0))
    width = 2 / len(counts)
    centres = np.linspace(-1 + width / 2, 1 - width / 2, len(counts))
    axes.bar(centres, counts, width=width * 0.92, color=BAR)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("candidate - live", fontsize=8)
    axes.set_ylabel("ads", fontsize=8)
    return _png(figure)


def change_bars(counts: NDArray[np.int64], bins: Sequence[str], title: str) -> bytes:
    """Draw (B,) ads by the relative change of a number, a row for each of the B bins, as PNG."""
    figure, axes = _figure(title, (5.6, 1.0 + 0.26 * len(bins)))
    rows = axes.barh(range(len(bins)), counts, color=BAR)
    axes.bar_label(rows, [f"{count:,}" for count in counts], fontsize=7, padding=3)
    axes.set_yticks(range(len(bins)), bins, fontsize=8)
    axes.margins(x=0.12)
    axes.set_xlabel("ads", fontsize=8)
    return _png(figure)


def _figure(title: str, size: tuple[float, float]) -> "tuple[Figure, Axes]":
    # Figure without pyplot: no global state, no backend, thread-safe.
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
