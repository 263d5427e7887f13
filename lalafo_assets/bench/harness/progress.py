"""Shows a bench's progress on standard error."""

import time
from typing import Any

from rich.console import Console
from rich.progress import TaskID, TimeRemainingColumn

from lalafo_assets.commands.console import new_console
from lalafo_assets.commands.terminal.bars import new_bars


def bench_console(json_only: bool) -> Console:
    """Return the console of a bench's progress: standard error, or nothing with --json."""
    console = new_console(stderr=True)
    console.quiet = json_only
    return console


class ProgressDisplay:
    """Progress bars on a terminal; one line per bar elsewhere."""

    def __init__(self, console: Console) -> None:
        self._progress = new_bars(console, TimeRemainingColumn(), enabled=not console.quiet)
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> "ProgressDisplay":
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def say(self, message: str) -> None:
        """Print a message with the time."""
        self._progress.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {message}")

    def step(self, description: str, done: int, total: int) -> None:
        """Update the bar with this description; a new description adds a bar."""
        if description not in self._bars:
            self._bars[description] = self._progress.add_task(description, total=total)
        self._progress.update(self._bars[description], completed=done, total=total)
        if done >= total:
            self._progress.stop_task(self._bars[description])
