"""Mixes a newly fitted head with an old one, by shares that are chosen on validation photos.

A new catalogue has few labels, and the live release's head may have been fitted on many more. A
head fitted on the few labels alone is worse than the live one; mixed with the live one it is
better. With many labels the new head is used alone. Owns the choice of the share. Does not depend
on where the heads come from.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ops.models.categories.thresholds import find_thresholds
from ops.models.categories.tree import Thresholds
from ops.models.heads import class_probabilities
from ops.models.release import Head

FOLDS = 4
ONE_FOLD_FROM_ROWS = 4_000
"""From here on one fold is large enough, and four trials take four times as long."""

SHARES = tuple(step / 10 for step in range(11))  # of the new head
SHARPNESS = (0.7, 0.85, 1.0, 1.2, 1.4, 1.7)
"""Factors on the mixed logits: where two heads agree, each alone is underconfident."""


@dataclass(frozen=True, slots=True)
class Mix:
    """The share of the new head and the sharpness; `log_loss` is that on the validation photos."""

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
        """The same trial, with only the rows whose label one of the heads has."""
        labels = {*self.head.labels, *old.labels}
        rows = [i for i, label in enumerate(self.labels) if label in labels]
        return Trial(self.head, self.rows[rows], [self.labels[i] for i in rows])


def blend(new: Head, old: Head, mix: Mix) -> Head:
    """Mix two heads; the result has the labels of both, sorted.

    A label that only one head has keeps that head's weights. Softmax is invariant to a common term
    of the logits, so each head is centred over the labels that both have before they are mixed.
    Where they have no label in common, the new head is returned unchanged.
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
    """The mix with the lowest log-loss on the rows of all trials; None: no row has a known label.

    Of equal mixes, the one with the larger share of the new head.
    """
    usable = [trial.known(old) for trial in trials]
    usable = [trial for trial in usable if trial.labels]
    if not usable:
        return None
    candidates = [
        Mix(share, sharpness, 0.0)
        for share in SHARES
        for sharpness in ((1.0,) if share in (0.0, 1.0) else SHARPNESS)
    ]
    losses = [
        float(np.concatenate([_losses(blend(t.head, old, mix), t) for t in usable]).mean())
        for mix in candidates
    ]
    best = min(range(len(candidates)), key=lambda i: (round(losses[i], 6), -candidates[i].share))
    return Mix(candidates[best].share, candidates[best].sharpness, losses[best])


def thresholds_of_mix(trials: Sequence[Trial], old: Head, mix: Mix) -> Thresholds:
    """The thresholds of mixed heads whose labels are a tree, found on the rows of all trials."""
    mixed = [(blend(trial.head, old, mix), trial.known(old)) for trial in trials]
    labels = tuple(sorted({label for head, _ in mixed for label in head.labels}))
    column = {label: number for number, label in enumerate(labels)}
    parts = [np.empty((0, len(labels)), np.float32)]
    truth: list[str] = []
    for head, trial in mixed:
        if trial.labels:
            wide = np.zeros((len(trial.labels), len(labels)), np.float32)
            wide[:, [column[label] for label in head.labels]] = class_probabilities(
                trial.rows, head
            )
            parts.append(wide)
            truth += trial.labels
    return find_thresholds(labels, np.concatenate(parts), truth)


def folds(groups: Sequence[str], seed: int, count: int = FOLDS) -> NDArray[np.int64]:
    """The fold of each row, by the hash of its group: (N,) int64 in [0, count)."""
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
