"""Boosted symmetric trees for a quantile, in numpy.

Owns how trees are grown and evaluated. All nodes of one level of a symmetric tree ask the same
question, so that a tree is a few numbers, and the answers to its questions are the number of a
leaf (Prokhorenkova et al. 2018, "CatBoost"). Each round fits the gradient of the pinball loss, and
gives a leaf the quantile of its residuals (Friedman 2001, section 4.2). On some hundred rows the
symmetry regularises; on many, histograms of binned features make a level one `bincount`.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BINS = 64
_CHUNK = 4_096
_SHRINK = 3.0  # rows that count as a leaf's prior of no change

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """T trees of depth L: `feature` (T, L) int16, `threshold` (T, L) float32, `leaf` (T, 2**L)
    float32. A row's prediction is `base` and the sum of its leaves."""

    feature: NDArray[np.int16]
    threshold: Rows
    leaf: Rows
    base: float

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """The predictions of rows (N, F): (N,). A row's does not depend on the other rows."""
        found = np.empty(len(rows))
        trees, depth = self.feature.shape
        weights = (1 << np.arange(depth)[::-1]).astype(np.int64)
        each = np.arange(trees)
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            number = (chunk[:, self.feature] > self.threshold) @ weights
            leaves = self.leaf[each, number].astype(np.float64)
            found[start : start + _CHUNK] = leaves.sum(axis=1) + self.base
        return found


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees are grown. `bags`: forests of other random rows whose mean is taken. `share`: of
    the rows that a tree sees. `least`: rows of a leaf."""

    rounds: int = 120
    depth: int = 3
    rate: float = 0.06
    share: float = 0.7
    least: int = 5
    bags: int = 1


def grow(
    rows: Rows, target: NDArray[np.float64], quantile: float, growth: Growth, *, seed: int
) -> Forest:
    """Fit the `quantile` of `target` (N,) given `rows` (N, F) float32, finite; N is at least 1."""
    cuts, codes = _binned(rows)
    base = float(np.quantile(target, quantile))
    features, thresholds, leaves = [], [], []
    for bag in range(growth.bags):
        rng = np.random.default_rng((seed, bag))
        found = np.full(len(target), base)
        for _ in range(growth.rounds):
            count = max(min(len(target), 2 * growth.least), round(growth.share * len(target)))
            seen = rng.choice(len(target), count, replace=False)
            gradient = quantile - (target[seen] <= found[seen]).astype(np.float64)
            splits = _splits(codes[seen], gradient, growth)
            number = _numbers(codes, splits)
            values = _leaf_values((target - found)[seen], number[seen], quantile, growth)
            found += values[number]
            features.append([feature for feature, _ in splits])
            thresholds.append([cuts[feature, at] for feature, at in splits])
            leaves.append(values / growth.bags)
    return Forest(
        np.array(features, np.int16),
        np.array(thresholds, np.float32),
        np.array(leaves, np.float32),
        base,
    )


def _binned(rows: Rows) -> tuple[Rows, NDArray[np.int64]]:
    """The cuts (F, BINS - 1) between bins, and the bin of each value (N, F)."""
    count = rows.shape[1]
    cuts = np.full((count, BINS - 1), np.finfo(np.float32).max, np.float32)
    codes = np.zeros(rows.shape, np.int64)
    for feature in range(count):
        values = np.unique(rows[:, feature])
        if len(values) > BINS:
            values = np.unique(np.quantile(rows[:, feature], np.linspace(0, 1, BINS)))
        between = np.unique(((values[:-1] + values[1:]) / 2).astype(np.float32))
        cuts[feature, : len(between)] = between
        codes[:, feature] = np.searchsorted(between, rows[:, feature], side="left")
    return cuts, codes


def _splits(
    codes: NDArray[np.int64], gradient: NDArray[np.float64], growth: Growth
) -> list[tuple[int, int]]:
    """The feature and the cut of each level, which gain most over all nodes of the level."""
    count, features = codes.shape
    offsets = np.arange(features) * BINS
    number = np.zeros(count, np.int64)
    chosen: list[tuple[int, int]] = []
    for level in range(growth.depth):
        nodes = 1 << level
        cells = (number[:, None] * (features * BINS) + offsets + codes).ravel()
        shape = (nodes, features, BINS)
        size = nodes * features * BINS
        sums = np.bincount(cells, np.repeat(gradient, features), size).reshape(shape)
        counts = np.bincount(cells, minlength=size).reshape(shape).astype(np.float64)
        left, n_left = sums.cumsum(axis=2), counts.cumsum(axis=2)
        whole, n = left[:, :, -1:], n_left[:, :, -1:]
        right, n_right = whole - left, n - n_left
        gain = left**2 / (n_left + _SHRINK) + right**2 / (n_right + _SHRINK)
        small = (n_left < growth.least) | (n_right < growth.least)
        gain = np.where(small, whole**2 / (n + _SHRINK), gain).sum(axis=0)[:, :-1]
        feature, at = divmod(int(np.round(gain, 9).argmax()), BINS - 1)
        chosen.append((feature, at))
        number = 2 * number + (codes[:, feature] > at)
    return chosen


def _numbers(codes: NDArray[np.int64], splits: list[tuple[int, int]]) -> NDArray[np.int64]:
    number = np.zeros(len(codes), np.int64)
    for feature, at in splits:
        number = 2 * number + (codes[:, feature] > at)
    return number


def _leaf_values(
    residual: NDArray[np.float64], number: NDArray[np.int64], quantile: float, growth: Growth
) -> NDArray[np.float64]:
    values = np.zeros(1 << growth.depth)
    order = np.argsort(number, kind="stable")
    ends = np.searchsorted(number[order], np.arange(len(values) + 1))
    for leaf, (start, end) in enumerate(pairwise(ends.tolist())):
        count = end - start
        if count >= growth.least:
            middle = _quantile(residual[order[start:end]], quantile)
            values[leaf] = growth.rate * middle * count / (count + _SHRINK)
    return values


def _quantile(values: NDArray[np.float64], share: float) -> float:
    """As numpy.quantile, which takes ten times as long for some dozen values."""
    ordered = np.sort(values)
    place = share * (len(ordered) - 1)
    at = int(place)
    low, high = ordered[at], ordered[min(at + 1, len(ordered) - 1)]
    return float(low + (place - at) * (high - low))
