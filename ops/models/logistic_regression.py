"""L2-regularised multinomial logistic regression on the principal axes of its rows, by L-BFGS.

Owns the optimisation problem and its scaling. Does not depend on how the penalty is chosen
(ops/models/fit_head.py).

On the principal axes the problem's Hessian at zero weights is nearly diagonal: axis j has the
curvature variance_j / 2 + l2. The weights are scaled by the inverse root of that (a diagonal
preconditioner), so that L-BFGS needs 10 to 30 iterations instead of hundreds.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LEAST_VARIANCE = 1e-6  # of the first axis: axes with less are rounding errors of float16 rows


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """The principal axes of scaled rows: `mean` (D,), `scale` (D,) by which rows are divided,
    `directions` (D, R) orthonormal, and `variance` (R,) on each axis, descending; all float32.

    A feature is divided by the root of its standard deviation, and all by one number, so that the
    mean variance is 1. Unscaled, a penalty holds features of small variance down; with a standard
    deviation of 1 each, noise of nearly constant ones counts as much as anything. On real photos
    this is in log loss as good as the better of the two (docs/decisions/0011).
    """

    mean: Floats
    scale: Floats
    directions: Floats
    variance: Floats

    @classmethod
    def of(cls, rows: Floats) -> "Axes":
        """The axes of (N, D) float32 rows; R <= min(N - 1, D), at least 1."""
        mean = rows.mean(axis=0)
        centred = rows - mean
        count, width = centred.shape
        deviation = np.sqrt(np.square(centred).mean(axis=0))
        whole = max(1e-8, float(np.sqrt(np.square(deviation).mean())))
        # The lower limit keeps a nearly constant feature from being scaled up to noise.
        scale = np.sqrt(np.maximum(deviation, 0.05 * whole)).astype(np.float32)
        scale *= max(1e-8, float(np.sqrt(np.square(deviation / scale).mean())))
        centred /= scale
        # The smaller of the two products: both have the same eigenvalues, apart from zeros.
        small = count < width
        product = centred @ centred.T if small else centred.T @ centred
        values, vectors = np.linalg.eigh(product / count)
        kept = max(1, int((values > _LEAST_VARIANCE * max(values[-1], 1e-12)).sum()))
        values, vectors = values[::-1][:kept], vectors[:, ::-1][:, :kept]
        if small:
            vectors = centred.T @ vectors / np.sqrt(count * np.maximum(values, 1e-12))
        return cls(mean, scale, np.ascontiguousarray(vectors), np.maximum(values, 0))

    def apply(self, rows: Floats) -> Floats:
        """Coordinates on the axes: (N, D) -> (N, R)."""
        return cast(Floats, (rows - self.mean) / self.scale @ self.directions)

    def original(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weights on the axes (C, R + 1), the bias last -> weight (C, D), bias (C,) for rows."""
        wide = weights.astype(np.float64)
        weight = wide[:, :-1] @ self.directions.T.astype(np.float64) / self.scale
        bias = wide[:, -1] - weight @ self.mean
        return weight.astype(np.float32), bias.astype(np.float32)


def minimise(
    rows: Floats,
    targets: NDArray[np.int64],
    *,
    variance: Floats,
    start: Floats,
    l2: float,
    iterations: int,
    tolerance: float,
) -> Floats:
    """The weights (C, R + 1) that minimise C/2 · mean cross-entropy + l2/2 · |weights|².

    The bias, in the last column, is not penalised. The factor C/2 compensates for the gradient of a
    class, which falls with the number of classes; without it the best penalty would depend on C.

    Args:
        rows: (N, R) coordinates on principal axes with this `variance` (R,).
        targets: (N,) in [0, C).
        start: (C, R + 1), where to begin; not changed.
        tolerance: ends when an iteration lowers the mean loss of a photo (nats) by less.
    """
    from scipy.optimize import minimize

    shape, count = start.shape, len(rows)
    factor = shape[0] / 2
    scale = np.append(1 / np.sqrt(variance / 2 + l2), np.sqrt(2)).astype(np.float32)
    inputs = np.concatenate([rows, np.ones((count, 1), np.float32)], axis=1) * scale
    penalties = np.float32(l2) * np.square(scale)
    penalties[-1] = 0
    picked = np.arange(count)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(shape).astype(np.float32)
        errors = inputs @ weights.T  # logits, and after some steps in place p - y
        errors -= errors.max(axis=1, keepdims=True)
        right = errors[picked, targets]
        np.exp(errors, out=errors)
        sums = errors.sum(axis=1)
        loss = float((np.log(sums, dtype=np.float64) - right).mean())
        errors /= sums[:, None]
        errors[picked, targets] -= 1
        shrunk = penalties * weights
        gradient = (factor / count) * (errors.T @ inputs) + shrunk
        total = factor * loss + 0.5 * float((shrunk * weights).sum(dtype=np.float64))
        # In nats a photo, so that the tolerance means the same for any number of classes.
        return total / factor, (gradient / factor).ravel().astype(np.float64)

    found = minimize(
        objective,
        (start / scale).ravel().astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "maxcor": 10, "ftol": tolerance, "gtol": 1e-7},
    )
    return cast(Floats, (found.x.reshape(shape) * scale).astype(np.float32))
