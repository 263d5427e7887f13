"""Ridge regression on many features, with predictions of rows that it was not fitted on.

Owns the choice of the penalty: the one with the lowest mean absolute error over folds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PENALTIES = tuple(float(p) for p in np.logspace(-2.5, 3, 12))  # times the mean eigenvalue

Rows = NDArray[np.float32]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """`weight` (F,) float32 and `bias`."""

    weight: NDArray[np.float32]
    bias: float

    def predict(self, rows: Rows) -> Values:
        """The predictions of rows (N, F): (N,). No BLAS, whose sums depend on the other rows."""
        sums: Values = (rows * self.weight).sum(axis=1, dtype=np.float64) + self.bias
        return sums


def fit_ridge(rows: Rows, target: Values, folds: NDArray[np.int64]) -> tuple[Ridge, Values]:
    """Fit `target` (N,) by `rows` (N, F) float32.

    Returns:
        The regression on all rows, and each row's prediction by one that was fitted without the
        row's fold.
    """
    numbers = np.unique(folds)
    tried = np.empty((len(PENALTIES), len(target)))
    for fold in numbers:
        out = folds == fold
        weights, biases = _path(rows[~out], target[~out])
        tried[:, out] = weights @ rows[out].T + biases[:, None]
    errors = np.abs(tried - target).mean(axis=1)
    best = int(np.round(errors, 9).argmin())
    weights, biases = _path(rows, target)
    return Ridge(weights[best].astype(np.float32), float(biases[best])), tried[best]


def _path(rows: Rows, target: Values) -> tuple[Values, Values]:
    """The weights (P, F) and the biases (P,) for each of PENALTIES."""
    mean, middle = rows.mean(axis=0, dtype=np.float64), float(target.mean())
    centred, wanted = rows.astype(np.float64) - mean, target - middle
    count, width = centred.shape
    dual = count < width
    values, vectors = np.linalg.eigh(centred @ centred.T if dual else centred.T @ centred)
    values = np.maximum(values, 0)
    scale = max(float(values.sum()) / min(count, width), 1e-12)
    side = vectors.T @ (wanted if dual else centred.T @ wanted)
    solved = np.stack([vectors @ (side / (values + p * scale)) for p in PENALTIES])
    weights = solved @ centred if dual else solved
    return weights, middle - weights @ mean
