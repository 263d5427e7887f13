"""Describes the installed tasks in PostgreSQL, for the gateway, which imports none of them.

A process that imports the tasks writes their rows when it starts. Rows of tasks that are installed
elsewhere stay.
"""

from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from ops.errors import ConfigurationError
from ops.scoring.switched_off import SwitchedOff, switched_off
from ops.tasks import Answer, Task
from ops.tasks.contract.answer import answer_schema
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease
from resources.settings import Settings


def record_tasks(database: Database, tasks: Sequence[Task]) -> None:
    """Write what each task answers; changes nothing where the rows say so already."""
    rows = [
        (task.name, task.asset_name, task.description, Jsonb(_schema(task)))
        for task in sorted(tasks, key=lambda task: task.name)
    ]
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO lalafo.tasks AS held (name, asset, description, answer) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET asset = excluded.asset, "
            "description = excluded.description, answer = excluded.answer, updated_at = now() "
            "WHERE (held.asset, held.description, held.answer) "
            "IS DISTINCT FROM (excluded.asset, excluded.description, excluded.answer)",
            rows,
        )


def require_installed(release: RegisteredRelease, tasks: Sequence[Task]) -> None:
    """Raise a ConfigurationError if a release runs a task that is not installed here.

    Its ads would get no prediction in that task, and no one would notice.
    """
    missing = sorted(set(release.tasks) - {task.name for task in tasks})
    if missing:
        raise ConfigurationError(
            f"{release.name} runs tasks that are not installed here: {', '.join(missing)}. Install "
            "their packages, or make a release live that does without them."
        )


def tasks_off(settings: Settings, tasks: Sequence[Task]) -> SwitchedOff:
    """Which of the installed tasks are off in which catalogs, by LALAFO_TASKS_OFF.

    Raises:
        ConfigurationError: it names a task that is not installed here.
    """
    return switched_off(settings.tasks_off_pairs, tasks)


def _schema(task: Task) -> dict[str, Any]:
    return answer_schema(Answer if task.answer is None else task.answer)
