"""The prediction tasks: one module for each, discovered in this package and in installed packages.

A module defines TASK. Adding the file is enough for the task to get its asset, its rows, and its
part in the stream and in re-scoring; a package of someone else names its module in the entry-point
group `lalafo.tasks`. A module that names packages in REQUIRES, and in EXTRA the extra that installs
them, has no task where they are missing. Owns the discovery; `contract/` has the interface of a
task. Importing the package imports neither torch nor any task.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from ops.errors import ConfigurationError
from ops.models.task_head import TaskHead
from ops.tasks.contract.answer import Answer
from ops.tasks.contract.arrays import Answers, TopLabels
from ops.tasks.contract.inputs import Ad, AdFields, Inputs, Photo, PhotoPlace
from ops.tasks.contract.learning import Margin
from ops.tasks.contract.task import (
    Combine,
    Fit,
    Lane,
    Predict,
    PredictAds,
    PredictMany,
    PredictPhotos,
    Scope,
    Task,
)

__all__ = [
    "Ad",
    "AdFields",
    "Answer",
    "Answers",
    "Combine",
    "Fit",
    "Inputs",
    "Lane",
    "Margin",
    "Photo",
    "PhotoPlace",
    "Predict",
    "PredictAds",
    "PredictMany",
    "PredictPhotos",
    "Scope",
    "Task",
    "TaskHead",
    "TopLabels",
]

HEADLINE_TASK = "category"
"""The task whose label is the caption of photos, and whose accuracy is that of the release."""

ENTRY_POINTS = "lalafo.tasks"
"""The entry-point group in which an installed package names the modules of its tasks."""


def all_tasks(modules: Callable[[], Sequence[str]] | None = None) -> tuple[Task, ...]:
    """Every task, in an order in which they can run: one that reads others' answers is behind them.

    Otherwise they are sorted by name. The installed packages are looked up once in a process.

    Args:
        modules: returns the full names of the modules that define TASK; None: those of this
            package, and those of installed packages.

    Raises:
        ConfigurationError: a module without a TASK or one that can't be imported, two tasks with
            the same name or asset, or tasks that read each other's answers.
    """
    return _installed() if modules is None else _checked([_task_of(name) for name in modules()])


def task_by_name(name: str) -> Task:
    """The task with that name.

    Raises:
        ConfigurationError: there is none; the message lists the known tasks.
    """
    tasks = {task.name: task for task in all_tasks()}
    if name not in tasks:
        raise ConfigurationError(f"Unknown task {name!r}. Known: {', '.join(tasks)}.")
    return tasks[name]


@cache
def _installed() -> tuple[Task, ...]:
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.name, point.value))
    names = [name for name in _own_modules() if not missing_packages(name)]
    return _checked([*map(_task_of, names), *map(_task_of_package, found)])


def _own_modules() -> list[str]:
    return [f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__) if not m.ispkg]


def missing_packages(module_name: str) -> tuple[str, ...]:
    """Which of the packages that a module of a task names in REQUIRES are not installed here."""
    required = getattr(importlib.import_module(module_name), "REQUIRES", ())
    return tuple(name for name in required if importlib.util.find_spec(name) is None)


def tasks_left_out() -> dict[str, str]:
    """The tasks of this package that need an extra which is not installed here: the extra's name
    by the task's."""
    found = [(importlib.import_module(it), missing_packages(it)) for it in _own_modules()]
    return {module.TASK.name: module.EXTRA for module, missing in found if missing}


def _checked(found: Sequence[Task]) -> tuple[Task, ...]:
    tasks = sorted(found, key=lambda task: task.name)
    for kind in ("name", "asset_name"):
        names = [getattr(task, kind) for task in tasks]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"Two tasks share a {kind}: {sorted(names)}.")
    return _in_order(tasks)


def _in_order(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks, each behind those whose answers it reads."""
    known = {task.name for task in tasks}
    done: dict[str, Task] = {}
    waiting = list(tasks)
    while waiting:
        unknown = sorted({name for task in waiting for name in task.inputs.answers} - known)
        if unknown:
            raise ConfigurationError(f"A task reads answers of tasks that are not here: {unknown}.")
        ready = next((task for task in waiting if done.keys() >= set(task.inputs.answers)), None)
        if ready is None:
            names = ", ".join(task.name for task in waiting)
            raise ConfigurationError(f"Tasks read each other's answers: {names}.")
        late = [name for name in ready.inputs.answers if done[name].lane is Lane.AFTER]
        if late and ready.lane is Lane.PATH:
            raise ConfigurationError(
                f"The task {ready.name} is on the ad's path and reads answers that are made after "
                f"it, of {late}: give it lane=Lane.AFTER."
            )
        done[ready.name] = ready
        waiting.remove(ready)
    return tuple(done.values())


def _task_of(module_name: str) -> Task:
    task = getattr(importlib.import_module(module_name), "TASK", None)
    if not isinstance(task, Task):
        raise ConfigurationError(
            f"{module_name} defines no TASK. Add one (see ops/tasks/contract/task.py)."
        )
    return task


def _task_of_package(point: EntryPoint) -> Task:
    """The task of an installed package; its entry point names the module, or its TASK."""
    package = point.dist.name if point.dist is not None else "an installed package"
    try:
        found = point.load()
        task = found if isinstance(found, Task) else getattr(found, "TASK", None)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            raise
        raise ConfigurationError(
            f"The task {point.name} of the package {package} ({point.value}) can't be imported: "
            f"{type(error).__name__}: {error}. Repair the package, or uninstall it."
        ) from error
    if not isinstance(task, Task):
        raise ConfigurationError(
            f"The entry point {point.name} of the package {package} ({point.value}) names no "
            "module with a TASK, and no Task."
        )
    return task
