"""What is predicted from an ad's photos: one module a task, found by being here.

A module defines TASK; adding the file gives the task its asset, its rows, its place in the stream
and in re-scoring. This package decides what a task must offer; it refuses to know any task's name.
Importing it imports neither torch nor any task.
"""

import importlib
import pkgutil
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.release import Head
from ops.types import Embeddings, Prediction


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
    for people. `fit`: None where nothing is learned.
    """

    name: str
    asset_name: str
    description: str
    predict: Predict
    fit: Fit | None = None


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
