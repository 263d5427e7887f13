"""What is predicted from an ad's photos: one module a task, found by being here.

A module defines TASK; adding the file gives the task its asset, its rows, its place in the stream
and in re-scoring. This package decides what a task must offer; it refuses to know any task's name.
Importing it imports neither torch nor any task.
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
"""The task whose label stands below a photo in pictures, and whose accuracy names a release's."""


class Predict(Protocol):
    """Answers for ads from the embeddings of their photos."""

    def __call__(
        self, embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: Head
    ) -> list[Prediction | None]:
        """One answer an ad, in the ads' order; None for an ad without rows.

        Args:
            embeddings: (N, D) float16 unit rows.
            owner: (N,) int64 in [0, n_ads): whose photo each row is, in any order.
        """


@dataclass(frozen=True, slots=True)
class Answers:
    """One task's answers for many ads, as arrays: what `Predict` says, without an object an ad.

    `ads`: (A,) int64 ascending, the ads that have an answer. `labels`: those that may be answered.
    `label`: (A,) int64, the answer's place in `labels`. `score`: (A,) float32 in [0, 1].
    `details`: A JSON texts of ASCII letters.
    """

    ads: NDArray[np.int64]
    labels: tuple[str, ...]
    label: NDArray[np.int64]
    score: NDArray[np.float32]
    details: Sequence[str]


class PredictMany(Protocol):
    """The same answers as `Predict` gives, to the last digit, for a whole day's ads."""

    def __call__(
        self, embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: Head
    ) -> Answers: ...


class Fit(Protocol):
    """Makes the task's head; imports what it needs (torch) when it is called."""

    def __call__(
        self,
        embeddings: Embeddings,
        labels: Sequence[str],
        *,
        groups: Sequence[Hashable] | None = None,
        seed: int = 0,
    ) -> tuple[Head, dict[str, Any]]:
        """The head and its JSON metrics; raises ConfigurationError where none can be fitted."""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing predicted.

    `name`: the key in releases and in rows. `asset_name`: Dagster's. `description`: one sentence
    for people. `fit`: None where nothing is learned. `predict_many`: where a re-score is to be
    faster than by an object an ad; without it `answers` makes the arrays from `predict`. `number`:
    the key in a prediction's details of a number whose move between releases is worth telling,
    such as a price; None where there is none.
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
        """The answers for many ads as arrays, by whichever way the task has; see `Predict`."""
        if self.predict_many is not None:
            return self.predict_many(embeddings, owner, n_ads, head)
        return _as_answers(self.predict(embeddings, owner, n_ads, head))


def _as_answers(made: Sequence[Prediction | None]) -> Answers:
    found = [(ad, item) for ad, item in enumerate(made) if item is not None]
    labels = tuple(dict.fromkeys(item.label for _, item in found))
    places = {label: place for place, label in enumerate(labels)}
    return Answers(
        ads=np.array([ad for ad, _ in found], np.int64),
        labels=labels,
        label=np.array([places[item.label] for _, item in found], np.int64),
        score=np.array([item.score for _, item in found], np.float32),
        details=[json.dumps(item.details) for _, item in found],
    )


def all_tasks(
    modules: Callable[[], Sequence[str]] = lambda: _module_names(),
) -> tuple[Task, ...]:
    """Every task, sorted by name.

    Args:
        modules: the full names of the modules that define TASK; those of this package.

    Raises:
        ConfigurationError: a module without a TASK, or two tasks of one name or asset.
    """
    tasks = sorted((_task_of(name) for name in modules()), key=lambda task: task.name)
    for kind in ("name", "asset_name"):
        names = [getattr(task, kind) for task in tasks]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"Two tasks share a {kind}: {sorted(names)}.")
    return tuple(tasks)


def task_by_name(name: str) -> Task:
    """The task of that name; ConfigurationError, naming those there are, for another."""
    tasks = {task.name: task for task in all_tasks()}
    if name not in tasks:
        raise ConfigurationError(f"Unknown task {name!r}. Known: {', '.join(tasks)}.")
    return tasks[name]


def _module_names() -> Sequence[str]:
    return [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]


def _task_of(module_name: str) -> Task:
    task = getattr(importlib.import_module(module_name), "TASK", None)
    if not isinstance(task, Task):
        raise ConfigurationError(f"{module_name} defines no TASK: see ops/tasks/__init__.py.")
    return task
