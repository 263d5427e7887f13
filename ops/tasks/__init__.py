"""The prediction tasks: one module for each, discovered in this package.

A module defines TASK. Adding the file is enough for the task to get its asset, its rows, and its
part in the stream and in re-scoring. Owns the interface of a task. Does not depend on a particular
task. Importing the package imports neither torch nor any task.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.release import Head
from ops.types import Prediction
from ops.vectors import Embeddings

HEADLINE_TASK = "category"
"""The task whose label is the caption of photos, and whose accuracy is that of the release."""


class Predict(Protocol):
    """Predicts ads from the embeddings of their photos."""

    def __call__(
        self, embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: Head
    ) -> list[Prediction | None]:
        """Predict each ad, in the order of the ads; None for an ad without rows.

        Args:
            embeddings: (N, D) float16 unit rows.
            owner: (N,) int64 in [0, n_ads): the ad of each row, in any order.
        """


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


class PredictMany(Protocol):
    """Computes the same predictions as `Predict`, to the last digit, for all ads of a day."""

    def __call__(
        self, embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: Head
    ) -> Answers: ...


class Fit(Protocol):
    """Fits the task's head; imports its dependencies (torch) when it is called."""

    def __call__(
        self,
        embeddings: Embeddings,
        labels: Sequence[str],
        *,
        groups: Sequence[Hashable] | None = None,
        seed: int = 0,
    ) -> tuple[Head, dict[str, Any]]:
        """Fit a head; returns it with its JSON metrics.

        Raises:
            ConfigurationError: no head can be fitted to these rows.
        """


@dataclass(frozen=True, slots=True)
class Task:
    """One prediction task.

    `name`: the key in releases and in rows. `asset_name`: the name of its Dagster asset.
    `description`: one sentence for users. `fit`: None where nothing is learned. `predict_many`: a
    faster implementation for re-scoring; without it `answers` converts the result of `predict`.
    `number`: the key of a number in the prediction's details, such as a price, whose change
    between releases is reported; None where there is none.
    """

    name: str
    asset_name: str
    description: str
    predict: Predict
    fit: Fit | None = None
    predict_many: PredictMany | None = None
    number: str | None = None

    def answers(
        self, embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: Head
    ) -> Answers:
        """The predictions for many ads as arrays, by `predict_many` where the task has it; the
        arguments are those of `Predict`."""
        if self.predict_many is not None:
            return self.predict_many(embeddings, owner, n_ads, head)
        return _as_answers(self.predict(embeddings, owner, n_ads, head))


def _as_answers(predictions: Sequence[Prediction | None]) -> Answers:
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


def all_tasks(
    modules: Callable[[], Sequence[str]] = lambda: _module_names(),
) -> tuple[Task, ...]:
    """Every task, sorted by name.

    Args:
        modules: returns the full names of the modules that define TASK; by default those of this
            package.

    Raises:
        ConfigurationError: a module without a TASK, or two tasks with the same name or asset.
    """
    tasks = sorted((_task_of(name) for name in modules()), key=lambda task: task.name)
    for kind in ("name", "asset_name"):
        names = [getattr(task, kind) for task in tasks]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"Two tasks share a {kind}: {sorted(names)}.")
    return tuple(tasks)


def task_by_name(name: str) -> Task:
    """The task with that name.

    Raises:
        ConfigurationError: there is none; the message lists the known tasks.
    """
    tasks = {task.name: task for task in all_tasks()}
    if name not in tasks:
        raise ConfigurationError(f"Unknown task {name!r}. Known: {', '.join(tasks)}.")
    return tasks[name]


def _module_names() -> Sequence[str]:
    return [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]


def _task_of(module_name: str) -> Task:
    task = getattr(importlib.import_module(module_name), "TASK", None)
    if not isinstance(task, Task):
        raise ConfigurationError(
            f"{module_name} defines no TASK. Add one (see ops/tasks/__init__.py)."
        )
    return task
