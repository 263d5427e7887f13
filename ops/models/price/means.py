"""Means of log prices by category and by value, shrunk where they are of few ads.

Owns the shrinkage: a node's mean counts its parent's as PRIOR ads, so that a rare category is near
the one above it. Nodes are paths, from the root, which is `()`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PRIOR = 4.0

Path = tuple[str, ...]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NodeMeans:
    """The mean and the number of ads of each node that has ads."""

    means: Mapping[Path, float]
    counts: Mapping[Path, int] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: Sequence[Path], values: Values) -> "NodeMeans":
        """The means of values (N,) by the nodes on their paths."""
        sums: dict[Path, float] = defaultdict(float)
        counts: dict[Path, int] = defaultdict(int)
        for path, value in zip(paths, values.tolist(), strict=True):
            for depth in range(len(path) + 1):
                sums[path[:depth]] += value
                counts[path[:depth]] += 1
        means: dict[Path, float] = {}
        for node in sorted(counts, key=len):
            above = means[node[:-1]] if node else None
            prior = 0.0 if above is None else PRIOR
            means[node] = (sums[node] + prior * (above or 0.0)) / (counts[node] + prior)
        return cls(means, counts)

    def __getitem__(self, path: Path) -> float:
        return self.means[self.deepest(path)]

    def deepest(self, path: Path) -> Path:
        """The deepest known node on a path; the root at least."""
        return next(path[:n] for n in range(len(path), -1, -1) if path[:n] in self.means)


def without_own_fold(paths: Sequence[Path], values: Values, folds: NDArray[np.int64]) -> Values:
    """Each row's node mean (N,), of the rows of the other folds."""
    found = np.empty(len(values))
    for fold in np.unique(folds):
        out = np.flatnonzero(folds == fold)
        kept = np.flatnonzero(folds != fold)
        means = NodeMeans.of([paths[i] for i in kept.tolist()], values[kept])
        found[out] = [means[paths[i]] for i in out.tolist()]
    return found


def mean_by_value(keys: Sequence[float | None], values: Values) -> dict[float, float]:
    """The shrunk mean of each key, towards 0; a key that is None has none."""
    sums: dict[float, list[float]] = defaultdict(list)
    for key, value in zip(keys, values.tolist(), strict=True):
        if key is not None:
            sums[key].append(value)
    return {key: sum(of) / (len(of) + PRIOR) for key, of in sums.items()}
