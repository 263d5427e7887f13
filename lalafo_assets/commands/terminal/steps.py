"""Steps of a start that are known by their messages alone, as `lalafo up` has them."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from lalafo_assets.commands.terminal.bars import Bars, in_words

SHORTEST_SHOWN_S = 0.05


class Steps:
    """A callback for messages, each of which begins a step; call `finish` after the last one.

    A step's message is printed with its time when the step ends. Meanwhile a terminal shows it
    beside a spinner, and elsewhere a line is printed every 10 s. Messages that come after `finish`
    are printed at once.

    Args:
        bars: show the running step among these, if given; else in bars of its own.
    """

    def __init__(self, console: Console, bars: Bars | None = None) -> None:
        own = Bars(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
                   console=console, transient=True)  # fmt: skip
        self._bars = own if bars is None else bars
        self._is_own = bars is None
        self._console = console
        self._task: TaskID | None = None
        self._is_finished = False

    def __enter__(self) -> Self:
        if self._is_own:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()

    def __call__(self, message: str) -> None:
        """End the step that is running, and begin one with this message."""
        self._end_step()
        if self._is_finished:
            self._console.print(Text(message), soft_wrap=True)
        else:
            self._task = self._bars.add_task(Text(message).markup, total=None)

    def finish(self) -> None:
        """End the last step; messages are printed at once from now on."""
        self._end_step()
        self._is_finished = True
        if self._is_own:
            self._bars.stop()

    def _end_step(self) -> None:
        task_id, self._task = self._task, None
        if task_id is None:
            return
        task = self._bars.tasks[self._bars.task_ids.index(task_id)]
        took_s = task.elapsed or 0.0
        self._bars.remove_task(task_id)
        took = f" ({in_words(took_s)})" if took_s >= SHORTEST_SHOWN_S else ""
        line = Text.from_markup(f"{task.description}{took}")
        self._bars.console.print(line, soft_wrap=True)
