"""Which prices say something: those that are neither zero nor far outside of their category.

Owns the rule and its reasons. A price of 1 or of 123456789 stands for "call me"; a model that
learned from it would answer it.
"""

from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ops.models.price.means import Path

MAX_PRICE = 1e12
MAX_Z = 4.5
"""Robust standard deviations from the median of the log prices."""

LEAST_ADS = 15
"""Ads of a category that have a median of their own; with fewer, that of the node above."""

_NORMAL = 1.4826  # median absolute deviations of a normal distribution in one standard deviation
_LEAST_SPREAD = 0.3  # in log price: narrower categories are not held to their narrowness


class SetAside(StrEnum):
    """Why a price is not learned from."""

    NOT_POSITIVE = "price_not_positive"
    TOO_HIGH = "price_too_high"
    OUTLIER = "price_far_outside_of_category"


def reasons(prices: NDArray[np.float64], paths: Sequence[Path]) -> list[SetAside | None]:
    """Why each price (N,) of one currency is set aside; None: it is learned from."""
    found: list[SetAside | None] = [
        SetAside.NOT_POSITIVE if price <= 0 else SetAside.TOO_HIGH if price > MAX_PRICE else None
        for price in prices.tolist()
    ]
    rows: dict[Path, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        if found[row] is None:
            for depth in range(len(path) + 1):
                rows[path[:depth]].append(row)
    logs = np.log(np.where(prices > 0, prices, 1))
    spans: dict[Path, tuple[float, float]] = {}
    for node, of_node in rows.items():
        if node == () or len(of_node) >= LEAST_ADS:
            middle = float(np.median(logs[of_node]))
            deviation = float(np.median(np.abs(logs[of_node] - middle)))
            spans[node] = (middle, max(_NORMAL * deviation, _LEAST_SPREAD))
    for row, path in enumerate(paths):
        if found[row] is None:
            node = next(path[:n] for n in range(len(path), -1, -1) if path[:n] in spans)
            middle, spread = spans[node]
            if abs(logs[row] - middle) > MAX_Z * spread:
                found[row] = SetAside.OUTLIER
    return found
