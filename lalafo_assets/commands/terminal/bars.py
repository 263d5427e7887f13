"""Progress of commands: bars that are redrawn on a terminal, a line for each step elsewhere.

One mechanism for all commands. `new_bars` is a rich `Progress`. Where its console is no terminal
(a pipe, a file, CI, TERM=dumb), it prints a line when a step ends, with the time that it took, and
every 10 s one for each step that is still running. `steps.py` does the same for messages.
"""

import threading
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

REPORT_S = 10.0
WIDEST_BAR, NARROWEST_BAR, SHORTEST_TEXT = 32, 6, 10
BESIDE_BAR = 58
"""Columns of a terminal that the other parts of a line may need beside the bar."""

OTHERS, EACH_MORE = 28, 12
"""Columns of spinner, count, time and gaps; and of each further column."""


def is_redrawn(console: Console) -> bool:
    """Whether bars may be redrawn: on a terminal that can, and not in a file with FORCE_COLOR."""
    file = console.file
    try:
        is_tty = file.isatty()
    except ValueError:  # it was closed
        return False
    return is_tty and console.is_interactive and not console.is_dumb_terminal


def new_bars(
    console: Console, *more: ProgressColumn, transient: bool = False, enabled: bool = True
) -> "Bars":
    """Return bars with a spinner, description, bar, count and time, and `more` columns after it.

    Args:
        transient: the bars are cleared at the end; lines elsewhere stay.
        enabled: False shows nothing at all.
    """
    width = max(NARROWEST_BAR, min(WIDEST_BAR, console.width - BESIDE_BAR))
    # The description gives way, or rich would shorten the counts.
    room = max(SHORTEST_TEXT, console.width - width - OTHERS - EACH_MORE * len(more))
    description = Column(no_wrap=True, overflow="ellipsis", max_width=room)
    return Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=description),
        BarColumn(bar_width=width),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        *more,
        console=console,
        transient=transient,
        enabled=enabled,
    )


class Bars(Progress):
    """A rich `Progress` that prints lines where it can't be redrawn.

    Args:
        enabled: False shows nothing, neither bars nor lines.
        counts: lines have the count of what is done; False where the description has it.
        report_s: seconds between two lines of a step that is still running.
    """

    def __init__(
        self,
        *columns: str | ProgressColumn,
        console: Console,
        transient: bool = False,
        enabled: bool = True,
        counts: bool = True,
        report_s: float = REPORT_S,
        get_time: Callable[[], float] | None = None,
    ) -> None:
        redrawn = enabled and is_redrawn(console)
        super().__init__(
            *columns, console=console, transient=transient, disable=not redrawn, get_time=get_time
        )
        self.lines = enabled and not redrawn
        self._counts = counts
        self._report_s = report_s
        self._reported: set[TaskID] = set()
        self._stopped = threading.Event()
        self._reporter: threading.Thread | None = None

    def start(self) -> None:
        """Start to show progress; a `with` block calls it."""
        super().start()
        if self.lines and self._reporter is None:
            self._stopped.clear()
            self._reporter = threading.Thread(target=self._report, name="progress", daemon=True)
            self._reporter.start()

    def stop(self) -> None:
        """Stop; without a terminal, print how far each step came that has not ended."""
        super().stop()
        self._stopped.set()
        reporter, self._reporter = self._reporter, None
        if reporter is not None:
            reporter.join()
            for task in self.tasks:
                if task.id not in self._reported and (task.completed or _has_run_long(task)):
                    self._print_end(task, "stopped after {}", ", stopped after {}")

    def add_task(
        self,
        description: str,
        start: bool = True,
        total: float | None = 100.0,
        completed: int = 0,
        visible: bool = True,
        **fields: Any,
    ) -> TaskID:
        """Add a step; as rich's method."""
        task = super().add_task(description, start, total, completed, visible, **fields)
        self._print_if_finished(task)
        return task

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Update a step; as rich's method."""
        super().update(task_id, **changes)
        self._print_if_finished(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance a step; as rich's method."""
        super().advance(task_id, advance)
        self._print_if_finished(task_id)

    def stop_task(self, task_id: TaskID) -> None:
        """End a step; as rich's method."""
        super().stop_task(task_id)
        task = self._tasks[task_id]
        if self.lines and task_id not in self._reported:
            self._print_end(task)

    def report(self) -> None:
        """Print a line for each step that has been running for `report_s` and has not ended."""
        for task in self.tasks:
            is_running = task.id not in self._reported and not task.finished
            if is_running and (task.elapsed or 0.0) >= self._report_s:
                self._print(task, "{} so far", ", {} so far")

    def _report(self) -> None:
        while not self._stopped.wait(self._report_s):
            self.report()

    def _print_if_finished(self, task_id: TaskID) -> None:
        task = self._tasks.get(task_id)
        if self.lines and task is not None and task.finished and task_id not in self._reported:
            self._print_end(task)

    def _print_end(self, task: Task, alone: str = "{}", counted: str = " in {}") -> None:
        self._reported.add(task.id)
        self._print(task, alone, counted)

    def _print(self, task: Task, alone: str, counted: str) -> None:
        """Print a step's line.

        Args:
            alone: what stands around the time of a step that is not counted.
            counted: what stands around the time behind a count.
        """
        count = _count(task) if self._counts else ""
        time = counted if count else alone
        line = f"{task.description}: {count}{time.format(in_words(task.elapsed))}"
        self.console.print(Text.from_markup(line), soft_wrap=True)


def _has_run_long(task: Task) -> bool:
    return task.elapsed is not None and task.elapsed >= REPORT_S


def _count(task: Task) -> str:
    """The count of a step: "3 of 7"; nothing for a step that is not counted."""
    if task.total is None or task.total <= 1:
        return f"{task.completed:,.0f}" if task.completed > 1 else ""
    if task.finished:
        return f"{task.completed:,.0f}"
    return f"{task.completed:,.0f} of {task.total:,.0f}"


def in_words(seconds: float | None) -> str:
    """A length of time for people."""
    s = 0.0 if seconds is None else seconds
    if s < 60:
        return f"{s:.1f} s"
    minutes, rest = divmod(round(s), 60)
    return f"{minutes} min {rest} s"
