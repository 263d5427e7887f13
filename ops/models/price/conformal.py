"""Conformalised quantile regression: intervals that cover the share that they promise.

Owns the calibration by category, with back-off to the category above where a category has too few
ads. Source: Romano, Patterson and Candès 2019, "Conformalized Quantile Regression"; by group:
Vovk 2012, "Conditional validity of inductive conformal predictors".
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ops.models.price.means import Path

LEAST_ADS = 200
"""Ads that a category is calibrated on by itself; with fewer, with those of the node above."""

Values = NDArray[np.float64]


def scores(value: Values, low: Values, high: Values) -> Values:
    """How far each value (N,) lies outside of its interval; negative: inside."""
    found: Values = np.maximum(low - value, value - high)
    return found


def offset(of: Values, share: float) -> float:
    """What both ends move outwards so that the interval covers `share` of such values.

    It is the ceil((n + 1) share)-th smallest score, so that a new ad is covered with at least that
    probability; with too few ads for it, the largest.
    """
    rank = min(len(of), math.ceil((len(of) + 1) * share))
    return float(np.sort(of)[rank - 1])


def offsets_by_node(
    paths: Sequence[Path], of: Values, share: float, *, least: int = LEAST_ADS
) -> dict[Path, tuple[float, int]]:
    """The offset and the number of ads of each node that has `least` ads, and of the root."""
    rows: dict[Path, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        for depth in range(len(path) + 1):
            rows[path[:depth]].append(row)
    return {
        node: (offset(of[at], share), len(at))
        for node, at in sorted(rows.items())
        if node == () or len(at) >= least
    }


def calibrated_node(path: Path, known: Mapping[Path, object]) -> Path:
    """The deepest node on a path that was calibrated; the root at least."""
    return next(path[:n] for n in range(len(path), -1, -1) if path[:n] in known)
