"""A new head that starts from an old one: mixed with it, as far as photos that it has not seen say.

A catalogue's first labels are few, and the live release's head may have learned from many more. On
their own they make a worse head; mixed into the live one they make a better one. With many labels
the new head stands alone. Decides the share; refuses to know whose heads they are.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ops.models.heads import class_probabilities
from ops.models.release import Head

FOLDS = 4
ONE_FOLD_FROM_ROWS = 4_000
"""From here on a quarter of the rows says enough, and four trials cost four times."""

SHARES = tuple(step / 10 for step in range(11))  # of the new head
SHARPNESS = (0.7, 0.85, 1.0, 1.2, 1.4, 1.7)
"""What the mixed logits are multiplied by: of two heads that agree, each alone is too modest."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How much of the new head, and how sharp; `log_loss` on the photos that decided it."""

    share: float
    sharpness: float
    log_loss: float


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A head, and rows (N, D) that it was not fitted on, with their labels."""

    head: Head
    rows: NDArray[np.float16]
    labels: Sequence[str]

    def known(self, old: Head) -> "Trial":
        """The rows whose labels either head knows."""
        labels = {*self.head.labels, *old.labels}
        kept = [i for i, label in enumerate(self.labels) if label in labels]
        return Trial(self.head, self.rows[kept], [self.labels[i] for i in kept])


def blend(new: Head, old: Head, mix: Mix) -> Head:
    """The mixed head, over the labels of both, sorted. A label that one lacks is the other's.

    Softmax knows logits up to a common term only: each head is centred over the labels that both
    know before they are mixed. Where they share none, the new head is returned as it is.
    """
    labels = tuple(sorted({*new.labels, *old.labels}))
    common = [label for label in labels if label in new.labels and label in old.labels]
    if not common:
        return new
    (weight, bias), (old_weight, old_bias) = (_centred(head, labels, common) for head in (new, old))
    known = np.array([label in old.labels for label in labels])
    learned = np.array([label in new.labels for label in labels])
    share = np.where(~known, 1.0, np.where(~learned, 0.0, mix.share))
    mixed_weight = share[:, None] * weight + (1 - share)[:, None] * old_weight
    mixed_bias = share * bias + (1 - share) * old_bias
    return Head(
        new.task,
        labels,
        (mix.sharpness * mixed_weight).astype(np.float32),
        (mix.sharpness * mixed_bias).astype(np.float32),
    )


def choose_mix(trials: Sequence[Trial], old: Head) -> Mix | None:
    """The mix of least log-loss on the rows of all trials; None: no row says.

    Of equal ones, that with more of the new head.
    """
    asked = [trial.known(old) for trial in trials]
    asked = [trial for trial in asked if trial.labels]
    if not asked:
        return None
    tried = [
        Mix(share, sharpness, 0.0)
        for share in SHARES
        for sharpness in ((1.0,) if share in (0.0, 1.0) else SHARPNESS)
    ]
    losses = [
        float(np.concatenate([_losses(blend(t.head, old, mix), t) for t in asked]).mean())
        for mix in tried
    ]
    best = min(range(len(tried)), key=lambda i: (round(losses[i], 6), -tried[i].share))
    return Mix(tried[best].share, tried[best].sharpness, losses[best])


def folds(groups: Sequence[str], seed: int, count: int = FOLDS) -> NDArray[np.int64]:
    """The fold of each row: of its group, by the group's hash alone. (N,) int64 in [0, count)."""
    names = (hashlib.sha256(f"{seed}:mix:{group}".encode()).digest() for group in groups)
    return np.array([int.from_bytes(name[:8]) % count for name in names], np.int64)


def _centred(
    head: Head, labels: Sequence[str], common: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The head's rows in the order of `labels`, zero for those it lacks: (C, D), (C,) float64."""
    place = {label: i for i, label in enumerate(head.labels)}
    shared = [place[label] for label in common]
    weight = head.weight.astype(np.float64) - head.weight[shared].mean(axis=0, dtype=np.float64)
    bias = head.bias.astype(np.float64) - head.bias[shared].mean(dtype=np.float64)
    wide_weight = np.zeros((len(labels), head.dimension))
    wide_bias = np.zeros(len(labels))
    for row, label in enumerate(labels):
        if label in place:
            wide_weight[row], wide_bias[row] = weight[place[label]], bias[place[label]]
    return wide_weight, wide_bias


def _losses(head: Head, trial: Trial) -> NDArray[np.float64]:
    place = {label: i for i, label in enumerate(head.labels)}
    columns = np.array([place[label] for label in trial.labels])
    right = class_probabilities(trial.rows, head)[np.arange(len(columns)), columns]
    losses: NDArray[np.float64] = -np.log(np.clip(right.astype(np.float64), 1e-6, 1))
    return losses
