"""The task `category`: predicts the category of an ad from all of its photos.

An ad's score is the mean of its photos' probabilities, so that one unusual photo (a label, a room)
changes it only by its share. Where the categories are a tree, the answer is a category or, where
that is unsure, a node above it (ops/models/categories/tree.py).
"""

import gc
import json
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ops.models.categories.tree import Thresholds, tree_of
from ops.models.heads import class_probabilities
from ops.models.release import Head
from ops.tasks import Answer, Answers, Task, TopLabels
from ops.types import SCORE_DIGITS, Prediction
from ops.vectors import Embeddings

NAME = "category"
TOP = 3
"""The number of best categories in a prediction's details."""

_MANY_ADS = 5_000


class CategoryAnswer(Answer):
    """The category of an ad, by all of its photos."""

    top: list[tuple[str, float]] = Field(
        description="The best categories, each with its share of the probability, best first.",
        json_schema_extra={"unit": "share"},
    )
    path: list[str] = Field(
        default_factory=list,
        description="Where the categories are a tree: the answered node's parts from the root; "
        "empty where no answer is sure.",
    )


def predict(
    embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: Head
) -> list[Prediction | None]:
    """Predict the best category of each ad: the mean over its photos of softmax probabilities.

    `score` is that mean, in [0, 1], rounded to SCORE_DIGITS. `details["top"]` has the best three as
    [label, score], best first, equal scores in the order of the head's labels. An ad without rows
    gets None. Where the categories are a tree, `label` and `score` are of the answered node, and
    `details["path"]` has its parts from the root; it is empty where no answer is sure.

    Args:
        embeddings: (N, D) float16 unit rows.
        owner: (N,) int64 in [0, n_ads), in any order.

    Raises:
        ConfigurationError: the embeddings are of another backbone than the head.
    """
    ads, scores = mean_by_ad(class_probabilities(embeddings, head), owner)
    columns, best = _top(scores, min(TOP, len(head.labels)))
    found = _answered(scores, columns, best, head)
    names = np.array(head.labels, dtype=object)[columns]
    answers: list[Prediction | None] = [None] * n_ads
    with _collector_paused(len(ads)):
        places = [
            [[label, score] for label, score in zip(names[:, p], best[:, p].tolist(), strict=True)]
            for p in range(columns.shape[1])
        ]
        stored = found.score.tolist()  # as PostgreSQL's `real` gives it back
        items = zip(ads.tolist(), found.label.tolist(), stored, *places, strict=True)
        for ad, label, score, *top in items:
            details: dict[str, Any] = {"top": top}
            if found.paths is not None:
                details["path"] = list(found.paths[label])
            answers[ad] = Prediction(NAME, found.labels[label], score, details)
    return answers


def predict_many(
    embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: Head
) -> Answers:
    """The predictions of `predict` as arrays; the arguments and errors are the same."""
    ads, scores = mean_by_ad(class_probabilities(embeddings, head), owner)
    columns, best = _top(scores, min(TOP, len(head.labels)))
    found = _answered(scores, columns, best, head)
    paths = None if found.paths is None else [json.dumps({"path": path}) for path in found.paths]
    top = TopLabels(columns, best)
    return Answers(ads, found.labels, found.label, found.score, top, label_details=paths)


class _Answered(NamedTuple):
    """The answers (A,) as numbers of `labels`, their scores (A,), and the paths of `labels` where
    the categories are a tree."""

    labels: tuple[str, ...]
    label: NDArray[np.int64]
    score: NDArray[np.float32]
    paths: tuple[tuple[str, ...], ...] | None


def _answered(
    scores: NDArray[np.float32], columns: NDArray[np.int64], best: NDArray[np.float64], head: Head
) -> _Answered:
    """The answer to each row of scores, of which `_top` has found the columns and scores."""
    thresholds = Thresholds.of(head.config)
    if thresholds is None:
        return _Answered(head.labels, columns[:, 0], best[:, 0].astype(np.float32), None)
    tree = tree_of(head.labels)
    node, probability = tree.answers(scores, thresholds)
    rounded = np.round(probability, SCORE_DIGITS).astype(np.float32)
    return _Answered(tree.nodes, node, rounded, tree.paths)


@contextmanager
def _collector_paused(ads: int) -> Iterator[None]:
    """Pause the garbage collector for many ads.

    Each prediction consists of six small containers, none of them garbage. Traversing them again
    and again took three quarters of the time (7 against 2 us for each ad).
    """
    pause = ads >= _MANY_ADS and gc.isenabled()
    if pause:
        gc.disable()
    try:
        yield
    finally:
        if pause:
            gc.enable()


def mean_by_ad(
    probabilities: NDArray[np.float32], owner: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Average (N, C) rows by owner: the ads that have rows, ascending (A,), and their means (A, C)
    float32."""
    if len(owner) == 0:
        return np.empty(0, dtype=np.int64), np.empty((0, probabilities.shape[1]), dtype=np.float32)
    steps = np.diff(owner)
    if np.all(steps > 0):  # one photo for each ad
        return owner, probabilities
    if np.any(steps < 0):
        order = np.argsort(owner, kind="stable")
        owner, probabilities = owner[order], probabilities[order]
    starts = np.flatnonzero(np.concatenate(([True], np.diff(owner) > 0)))
    counts = np.diff(np.append(starts, len(owner))).astype(np.float32)
    sums = np.add.reduceat(probabilities, starts, axis=0)
    return owner[starts], cast(NDArray[np.float32], sums / counts[:, None])


def fit(
    embeddings: Embeddings,
    labels: Sequence[str],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> tuple[Head, dict[str, Any]]:
    """Fit the category head on labelled photos; see `ops.models.fit_head`."""
    from ops.models.fit_head import fit_head

    fitted = fit_head(embeddings, labels, task=NAME, groups=groups, seed=seed)
    return fitted.head, fitted.metrics


def _top(scores: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The columns of the `count` best scores of each row, best first, and the rounded scores."""
    left = scores.copy()
    rows = np.arange(len(left))
    columns = np.empty((len(left), count), dtype=np.int64)
    for place in range(count):  # repeated argmax: sorting every row takes four times as long
        columns[:, place] = left.argmax(axis=1)
        left[rows, columns[:, place]] = -1.0
    best = np.take_along_axis(scores, columns, axis=1)
    clipped: NDArray[np.float64] = np.clip(best, 0.0, 1.0).astype(np.float64)
    return columns, cast(NDArray[np.float64], np.round(clipped, SCORE_DIGITS))


TASK = Task(
    name=NAME,
    asset_name="ad_categories",
    description="The category of each ad, by the mean of its photos' probabilities.",
    predict=predict,
    predict_many=predict_many,
    fit=fit,
    answer=CategoryAnswer,
)
