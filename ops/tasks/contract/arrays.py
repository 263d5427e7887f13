"""The predictions of many ads as arrays, for re-scores of millions of ads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ops.types import Prediction


@dataclass(frozen=True, slots=True)
class TopLabels:
    """The best labels of many ads, as `{"top": [[label, score], …]}` in a prediction's details.

    `labels`: (A, K) int64, indices into the head's labels, best first. `scores`: (A, K) float64 in
    [0, 1], rounded to SCORE_DIGITS.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answers:
    """One task's predictions for many ads as arrays, instead of one object for each ad.

    `ads`: (A,) int64 ascending, the ads that have a prediction. `labels`: the possible labels.
    `label`: (A,) int64, the predicted label as an index into `labels`. `score`: (A,) float32 in
    [0, 1], rounded to SCORE_DIGITS. `details`: the best labels, or A JSON texts, ASCII only. With
    the best labels, `labels` begin with the head's. `label_details`: beside the best labels, for
    each of `labels` a JSON object of what the details have besides, ASCII only; None: nothing.
    """

    ads: NDArray[np.int64]
    labels: tuple[str, ...]
    label: NDArray[np.int64]
    score: NDArray[np.float32]
    details: TopLabels | Sequence[str]
    label_details: Sequence[str] | None = None


def as_arrays(predictions: Sequence[Prediction | None]) -> Answers:
    """The predictions of consecutive ads as arrays; None: the ad has none."""
    present = [(ad, item) for ad, item in enumerate(predictions) if item is not None]
    labels = tuple(dict.fromkeys(item.label for _, item in present))
    index = {label: i for i, label in enumerate(labels)}
    return Answers(
        ads=np.array([ad for ad, _ in present], np.int64),
        labels=labels,
        label=np.array([index[item.label] for _, item in present], np.int64),
        score=np.array([item.score for _, item in present], np.float32),
        details=[json.dumps(item.details) for _, item in present],
    )
