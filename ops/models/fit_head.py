"""Fits a linear head on stored embeddings: multinomial logistic regression by L-BFGS.

Owns the choice of scaling and regularisation, by cross-validation on the training rows. Held-out
rows are not used here. Importing this module imports torch.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ops.errors import ConfigurationError
from ops.models.release import Head

# L2 penalties from strong to weak: each fit starts from the solution before it, and the path ends
# after two penalties in a row without a gain.
_L2_PATH = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4)
_GAIN = 0.002  # minimum reduction of the validation loss, as a share of it
_MIN_GAIN = 1e-3  # nats for each photo
_FOLDS = 5
_ONE_FOLD_FROM_ROWS = 4_000  # from here on one fold is large enough, and five take five times
_PATH_ITERATIONS = 40
_FINAL_ITERATIONS = 300


@dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """A head, and how it was chosen as JSON values: rows, classes, l2, scaling, folds,
    sharpness, validation_log_loss, validation_accuracy."""

    head: Head
    metrics: dict[str, Any]


def fit_head(
    embeddings: NDArray[np.float16] | NDArray[np.float32],
    labels: Sequence[str],
    *,
    task: str = "category",
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> FittedHead:
    """Fit a head for `task` on (N, D) embeddings and N labels; the head's labels are sorted.

    Args:
        groups: N keys; rows with the same key (photos of an ad) are in the same fold.
        seed: the seed of the folds. The same input and seed give the same head on one machine.

    Raises:
        ConfigurationError: fewer than two classes, a class with fewer than two examples, lengths
            that differ, an embedding that is not finite, or no class with two groups.
    """
    classes = _check(embeddings, labels, groups)
    rows = torch.from_numpy(embeddings.astype(np.float32))
    index = {label: i for i, label in enumerate(classes)}
    targets = torch.tensor([index[label] for label in labels])
    keys: Sequence[Hashable] = groups if groups is not None else range(len(labels))
    folds = list(_folds(targets.numpy(), keys, seed))
    if not folds:
        raise ConfigurationError(
            "No category has photos of two ads, so that a head can't be validated. Add ads."
        )
    trials = [t for scaling in _SCALINGS for t in _path(rows, targets, folds, scaling)]
    best = min(trials, key=lambda t: t.loss)
    scaling = _Scaling.of(rows, best.scaling)
    weights = torch.zeros(len(classes), rows.shape[1] + 1)
    weights = _minimise(scaling.apply(rows), targets, weights, best.l2, _FINAL_ITERATIONS)
    weight, bias = scaling.fold_back(weights * best.sharpness)
    metrics = {
        "rows": len(labels),
        "classes": len(classes),
        "l2": best.l2,
        "scaling": best.scaling,
        "folds": len(folds),
        "sharpness": best.sharpness,
        "validation_log_loss": best.loss,
        "validation_accuracy": best.accuracy,
    }
    return FittedHead(Head(task, classes, weight, bias), metrics)


_SCALINGS = ("per_feature", "whole")


@dataclass(frozen=True, slots=True, eq=False)
class _Scaling:
    """Centring and scaling of the inputs, undone in the weights afterwards."""

    mean: Tensor  # (D,)
    scale: Tensor  # (D,)

    @classmethod
    def of(cls, rows: Tensor, kind: str) -> "_Scaling":
        mean, deviation = rows.mean(dim=0), rows.std(dim=0, correction=0)
        whole = deviation.square().mean().sqrt().clamp_min(1e-8)
        if kind == "whole":
            return cls(mean, whole.expand_as(mean))
        # The lower limit keeps a nearly constant feature from being scaled up to noise.
        return cls(mean, torch.maximum(deviation, 0.05 * whole))

    def apply(self, rows: Tensor) -> Tensor:
        """Scale (N, D) rows and add a column of ones for the bias: (N, D + 1)."""
        return F.pad((rows - self.mean) / self.scale, (0, 1), value=1.0)

    def fold_back(self, weights: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Convert weights on scaled rows to the weight and bias on unscaled rows."""
        weight = weights[:, :-1].double() / self.scale.double()
        bias = weights[:, -1].double() - weight @ self.mean.double()
        return weight.float().numpy(), bias.float().numpy()


@dataclass(frozen=True, slots=True)
class _Trial:
    scaling: str
    l2: float
    sharpness: float  # the factor on the logits: the inverse of a temperature
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    train: Tensor  # row numbers
    validation: Tensor  # row numbers, of classes that are in `train`


def _path(rows: Tensor, targets: Tensor, folds: list[_Fold], kind: str) -> Iterator[_Trial]:
    """Yield the validation loss for each penalty of the path, over all folds.

    The loss is computed with the best sharpness of the logits. A strong penalty makes a head
    underconfident, not wrong; without the sharpness a weaker penalty with a less accurate head
    would be preferred.
    """
    scalings = [_Scaling.of(rows[fold.train], kind) for fold in folds]
    inputs = [scaling.apply(rows) for scaling in scalings]
    weights = [torch.zeros(int(targets.max()) + 1, rows.shape[1] + 1) for _ in folds]
    truth = torch.cat([targets[fold.validation] for fold in folds])
    best, idle = 1e9, 0
    for l2 in _L2_PATH:
        for i, fold in enumerate(folds):
            train = inputs[i][fold.train]
            weights[i] = _minimise(train, targets[fold.train], weights[i], l2, _PATH_ITERATIONS)
        fitted = zip(inputs, folds, weights, strict=True)
        logits = torch.cat([x[fold.validation] @ w.T for x, fold, w in fitted])
        loss, sharpness = _sharpen(logits, truth)
        right = logits.argmax(dim=1) == truth
        yield _Trial(kind, l2, sharpness, loss, float(right.float().mean()))
        idle = idle + 1 if loss > best - max(_GAIN * best, _MIN_GAIN) else 0
        best = min(best, loss)
        if idle == 2:
            return


def _sharpen(logits: Tensor, targets: Tensor) -> tuple[float, float]:
    """The lowest loss with one factor on all logits, and the factor (temperature scaling, Guo et
    al. 2017)."""
    factors = torch.logspace(-2, 6, 65, base=2.0).tolist()
    losses = [float(F.cross_entropy(logits * factor, targets)) for factor in factors]
    lowest = min(losses)
    return lowest, factors[losses.index(lowest)]


def _minimise(rows: Tensor, targets: Tensor, start: Tensor, l2: float, iterations: int) -> Tensor:
    """The weights (C, D + 1) that minimise C/2 · mean cross-entropy + l2/2 · |weights|².

    The bias is not penalised. The factor C/2 compensates for the gradient of a class, which falls
    with the number of classes; without it the best penalty and the tolerances would depend on C.
    """
    share = len(start) / 2
    weights = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weights],
        max_iter=iterations,
        history_size=20,
        tolerance_grad=1e-5,
        tolerance_change=1e-6,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        penalty = 0.5 * l2 * weights[:, :-1].square().sum()
        loss = share * F.cross_entropy(rows @ weights.T, targets) + penalty
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()


def _folds(targets: NDArray[np.int64], groups: Sequence[Hashable], seed: int) -> Iterator[_Fold]:
    """Stratified folds, shuffled by the seed; rows of one group are in the same fold."""
    first: dict[Hashable, int] = {}
    for row, group in enumerate(groups):
        first.setdefault(group, row)
    shuffled = np.random.default_rng(seed).permutation(np.array(list(first.values())))
    ordered = shuffled[np.argsort(targets[shuffled], kind="stable")]
    fold_of_first = dict(zip(ordered.tolist(), (np.arange(len(ordered)) % _FOLDS), strict=True))
    fold_of = np.array([fold_of_first[first[group]] for group in groups])
    for fold in range(1 if len(targets) >= _ONE_FOLD_FROM_ROWS else _FOLDS):
        train = np.flatnonzero(fold_of != fold)
        learnable = np.isin(targets, targets[train])
        validation = np.flatnonzero((fold_of == fold) & learnable)
        if len(validation) > 0 and len(train) > 0:
            yield _Fold(torch.from_numpy(train), torch.from_numpy(validation))


def _check(
    embeddings: NDArray[Any], labels: Sequence[str], groups: Sequence[Hashable] | None
) -> tuple[str, ...]:
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise ConfigurationError(
            f"The embeddings have the shape {embeddings.shape}, but there are {len(labels)} labels."
        )
    if groups is not None and len(groups) != len(labels):
        raise ConfigurationError(f"There are {len(groups)} groups, but {len(labels)} labels.")
    if not bool(np.isfinite(embeddings).all()):
        raise ConfigurationError("An embedding is not finite: compute the embeddings again.")
    counts = Counter(labels)
    if len(counts) < 2:
        raise ConfigurationError(
            f"A head needs at least two categories, got {sorted(counts)}. Add photos of another."
        )
    scarce = sorted(label for label, count in counts.items() if count < 2)
    if scarce:
        raise ConfigurationError(
            f"Each category needs two photos or more; these have one: {scarce[:10]}. Add photos "
            "to them, or leave them out."
        )
    return tuple(sorted(counts))
