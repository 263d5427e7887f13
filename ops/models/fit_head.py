"""Fits a linear head on stored embeddings: multinomial logistic regression, calibrated.

Owns the choice of the penalty and of the temperature, by cross-validation on the training rows;
held-out rows are not used here. `ops/models/logistic_regression.py` minimises.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.categories.thresholds import find_thresholds
from ops.models.categories.tree import is_tree
from ops.models.logistic_regression import Axes, Floats, minimise
from ops.models.release import Head

# L2 penalties from strong to weak: each fit starts from the solution before it, and the path ends
# after two penalties in a row without a gain.
_L2_PATH = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4)
_UNVALIDATED_L2 = 1.0  # where no category has two groups, so that nothing can be compared
_GAIN = 0.002  # minimum reduction of the validation loss, as a share of it
_MIN_GAIN = 1e-3  # nats for each photo
_FOLDS = 5
_ONE_FOLD_FROM_ROWS = 4_000  # from here on one fold is large enough, and five take five times
_PATH_ITERATIONS, _PATH_TOLERANCE = 40, 3e-4
_FINAL_ITERATIONS, _FINAL_TOLERANCE = 300, 1e-6
_SHARPNESS = (0.25, 64.0)
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """A head, and how it was chosen as JSON values: rows, classes, l2, folds, sharpness (the
    inverse temperature), validation_rows, validation_log_loss, validation_accuracy. Without a fold
    the last three are 0 rows and None: how sure the head may be is not known then."""

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

    One row of a label is enough to learn it, if badly. Where labels are paths, such as
    `shoes/boots`, the head's settings have the thresholds of its tree (ops/models/categories/).

    Args:
        groups: N keys; rows with the same key (photos of an ad) are in the same fold.
        seed: the seed of the folds. The same input and seed give the same head on one machine.

    Raises:
        ConfigurationError: fewer than two classes, lengths that differ, or an embedding that is not
            finite.
    """
    classes = _check(embeddings, labels, groups)
    rows = embeddings.astype(np.float32)
    index = {label: i for i, label in enumerate(classes)}
    targets = np.array([index[label] for label in labels], np.int64)
    keys: Sequence[Hashable] = groups if groups is not None else range(len(labels))
    axes = Axes.of(rows)
    inputs = axes.apply(rows)
    folds = list(_folds(targets, keys, seed))
    best = min(_path(inputs, axes.variance, targets, folds), key=lambda t: t.loss, default=None)
    weights = minimise(
        inputs,
        targets,
        variance=axes.variance,
        start=np.zeros((len(classes), inputs.shape[1] + 1), np.float32),
        l2=_UNVALIDATED_L2 if best is None else best.l2,
        iterations=_FINAL_ITERATIONS,
        tolerance=_FINAL_TOLERANCE,
    )
    sharpness = 1.0 if best is None else best.sharpness
    weight, bias = axes.original(weights * np.float32(sharpness))
    config: dict[str, Any] = {}
    if is_tree(classes):
        nothing = np.empty((0, len(classes)), np.float32)
        config = find_thresholds(
            classes,
            nothing if best is None else best.probabilities(),
            [] if best is None else [classes[i] for i in best.truth.tolist()],
        ).as_config()
    metrics = {
        "rows": len(labels),
        "classes": len(classes),
        "l2": _UNVALIDATED_L2 if best is None else best.l2,
        "folds": len(folds),
        "sharpness": sharpness,
        "validation_rows": 0 if best is None else len(best.truth),
        "validation_log_loss": None if best is None else best.loss,
        "validation_accuracy": None if best is None else best.accuracy,
        **config,
    }
    return FittedHead(Head(task, classes, weight, bias, config), metrics)


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """A penalty, with the logits (V, C) of the validation rows of all folds."""

    l2: float
    logits: Floats
    truth: NDArray[np.int64]  # (V,)
    sharpness: float  # the factor on the logits: the inverse of a temperature
    loss: float

    @property
    def accuracy(self) -> float:
        return float((self.logits.argmax(axis=1) == self.truth).mean())

    def probabilities(self) -> Floats:
        return _softmax(self.logits * np.float32(self.sharpness))


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    train: NDArray[np.int64]  # row numbers
    validation: NDArray[np.int64]  # row numbers, of classes that are in `train`


def _path(
    inputs: Floats, variance: Floats, targets: NDArray[np.int64], folds: list[_Fold]
) -> Iterator[_Trial]:
    """Yield the validation loss for each penalty of the path, over all folds; nothing without one.

    The loss is computed with the best sharpness of the logits. A strong penalty makes a head
    underconfident, not wrong; without the sharpness a weaker penalty with a less accurate head
    would be preferred.
    """
    if not folds:
        return
    shape = (int(targets.max()) + 1, inputs.shape[1] + 1)
    weights = [np.zeros(shape, np.float32) for _ in folds]
    truth = np.concatenate([targets[fold.validation] for fold in folds])
    best, idle = 1e9, 0
    for l2 in _L2_PATH:
        for i, fold in enumerate(folds):
            weights[i] = minimise(
                inputs[fold.train],
                targets[fold.train],
                variance=variance,
                start=weights[i],
                l2=l2,
                iterations=_PATH_ITERATIONS,
                tolerance=_PATH_TOLERANCE,
            )
        logits = np.concatenate(
            [
                inputs[fold.validation] @ w[:, :-1].T + w[:, -1]
                for fold, w in zip(folds, weights, strict=True)
            ]
        )
        sharpness, loss = sharpen(logits, truth)
        yield _Trial(l2, logits, truth, sharpness, loss)
        idle = idle + 1 if loss > best - max(_GAIN * best, _MIN_GAIN) else 0
        best = min(best, loss)
        if idle == 2:
            return


def sharpen(logits: Floats, targets: NDArray[np.int64]) -> tuple[float, float]:
    """The factor on all (V, C) logits with the lowest log loss, and that loss in nats.

    Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"); the loss is
    convex in the factor, whose logarithm is found by golden-section search.
    """
    picked = np.arange(len(targets))
    centred = logits - logits[picked, targets][:, None]

    def loss_of(power: float) -> float:
        scaled = centred * np.float32(2**power)
        highest = scaled.max(axis=1)
        sums = np.exp(scaled - highest[:, None]).sum(axis=1)
        return float((highest + np.log(sums)).mean(dtype=np.float64))

    low, high = np.log2(_SHARPNESS[0]), np.log2(_SHARPNESS[1])
    for _ in range(24):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if loss_of(left) <= loss_of(right) else (left, high)
    power = float(low + high) / 2
    return 2**power, loss_of(power)


def _softmax(logits: Floats) -> Floats:
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return cast(Floats, exps / exps.sum(axis=1, keepdims=True))


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
        if len(validation) > 0 and len(np.unique(targets[train])) > 1:
            yield _Fold(train, validation)


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
    return tuple(sorted(counts))
