"""Nearness to some of the ads: features for a smooth function of the attributes.

Owns the kernel. Trees are steps, and a price per square metre is none. A ridge regression on
Gaussian kernels at some of the training ads is a smooth function of few attributes (Nyström's
approximation of kernel ridge regression; Williams and Seeger 2001).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 300
WIDTH = 1.0  # times the expected squared distance of two ads

_CHUNK = 1_024

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """`rows` (K, F) float32, each feature divided by `scale` (F,)."""

    rows: Rows
    scale: Rows

    @classmethod
    def of(cls, rows: Rows) -> "Anchors":
        """MOST of the rows (N, F), chosen at random, repeatably."""
        count = min(len(rows), MOST)
        chosen = np.random.default_rng(0).choice(len(rows), count, replace=False)
        deviation = rows.std(axis=0)
        # A feature that never differs counts for nothing, also where a new ad has another value.
        scale = np.where(deviation > 1e-6, deviation, np.float32(1e9)).astype(np.float32)
        return cls((rows[np.sort(chosen)] / scale).astype(np.float32), scale)

    def near(self, rows: Rows) -> Rows:
        """How near rows (N, F) are to each anchor: (N, K) float32 in [0, 1]."""
        width = np.float32(2 * WIDTH * max(1, int((self.scale < 1e9).sum())))
        found = np.empty((len(rows), len(self.rows)), np.float32)
        for start in range(0, len(rows), _CHUNK):
            scaled = rows[start : start + _CHUNK] / self.scale
            squares = np.zeros((len(scaled), len(self.rows)), np.float32)
            for feature, column in enumerate(self.rows.T):
                squares += np.square(scaled[:, feature, None] - column)
            found[start : start + _CHUNK] = np.exp(-squares / width)
        return found
