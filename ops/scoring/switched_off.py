"""Which tasks are off in which catalogs: their ads get no such prediction, and need none.

Does not depend on where the setting comes from, or on which tasks are installed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ops.errors import ConfigurationError
from ops.tasks import Task

EVERY_CATALOG = "*"


@dataclass(frozen=True, slots=True)
class SwitchedOff:
    """Pairs of a task and a catalog, or EVERY_CATALOG."""

    pairs: frozenset[tuple[str, str]] = frozenset()

    def __call__(self, task: str, catalog: str) -> bool:
        """Whether a task is off in a catalog."""
        return (task, catalog) in self.pairs or (task, EVERY_CATALOG) in self.pairs

    def has(self, task: str) -> bool:
        """Whether a task is off anywhere."""
        return bool(self.pairs) and any(task == name for name, _ in self.pairs)

    def everywhere(self, task: str) -> bool:
        """Whether a task is off in every catalog."""
        return (task, EVERY_CATALOG) in self.pairs

    def catalogs(self, task: str) -> list[str]:
        """The catalogs that a task is off in, sorted; see `everywhere`."""
        return sorted(it for name, it in self.pairs if name == task and it != EVERY_CATALOG)


NONE_OFF = SwitchedOff()


def switched_off(pairs: Collection[tuple[str, str]], tasks: Sequence[Task]) -> SwitchedOff:
    """The tasks that are off, with those that read their answers.

    Args:
        pairs: of a task and a catalog, as the setting has them.
        tasks: the installed ones, each behind those whose answers it reads.

    Raises:
        ConfigurationError: one of the pairs names a task that is not installed.
    """
    known = [task.name for task in tasks]
    unknown = sorted({name for name, _ in pairs} - set(known))
    if unknown:
        raise ConfigurationError(
            f"LALAFO_TASKS_OFF names tasks that are not installed here: {', '.join(unknown)}. "
            f"Installed are: {', '.join(known)}."
        )
    found = set(pairs)
    for task in tasks:
        read = {catalog for name, catalog in found if name in task.inputs.answers}
        found |= {(task.name, catalog) for catalog in read}
    return SwitchedOff(frozenset(found))
