"""Follows a re-score from a terminal: starts it and shows its progress until it ends.

Owns the polling interval and the progress bars. Ctrl-C stops following, not the re-score.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dagster as dg
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

from lalafo_assets.commands.terminal.bars import new_bars
from ops.errors import NotReadyError, RetryableError
from resources.dagster.backfills import advance, check_progress
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease
from resources.rescoring.attempts import Rescore, latest
from resources.rescoring.progress import Watch
from resources.rescoring.steps import Stage, Step

POLL_S = 0.5


class AdsPerSecond(ProgressColumn):
    """The throughput of the bar "ads"."""

    def render(self, task: Task) -> Text:
        """Return ads per second, as rich estimates them."""
        if task.speed is None or task.description != "ads":
            return Text("")
        return Text(f"{task.speed:,.0f} ads/s")


def start(instance: dg.DagsterInstance, database: Database, row: Rescore, console: Console) -> Step:
    """Advance a re-score until its backfill runs; wait for sessions for a minute at most.

    Raises:
        NotReadyError: the release can't become active now.
    """
    started, last = time.monotonic(), ""
    while True:
        step = advance(instance, database, row, announced_s=time.monotonic() - started)
        if step.stage in (Stage.CANCELLED, Stage.WAITS):
            raise NotReadyError(step.message)
        if step.message != last:
            console.print(step.message, highlight=False, soft_wrap=True)
            last = step.message
        if step.stage is not Stage.ANNOUNCED:
            return step
        time.sleep(POLL_S)


def follow(
    instance: dg.DagsterInstance, database: Database, row: Rescore, watch: Watch, console: Console
) -> Step:
    """Show a running re-score until it ends, and return its last step.

    Raises:
        NotReadyError: it ended before every day was scored; the message says what to do.
    """
    with bars(console, watch) as update:
        while True:
            step = check_progress(instance, database, row)
            update(database)
            if step.stage is Stage.DONE:
                return step
            now = latest(database, row.release)
            if step.stage is Stage.CANCELLED:
                raise NotReadyError(step.message)
            if now is not None and not now.unfinished and now.state != "done":
                raise NotReadyError(f"re-score {row.backfill_id} was cancelled")
            time.sleep(POLL_S)


@contextmanager
def bars(console: Console, watch: Watch) -> Iterator["RescoreBars"]:
    """Show two progress bars, ads and days; call the yielded object to update them."""
    with new_bars(console, AdsPerSecond(), TimeRemainingColumn()) as progress:
        yield RescoreBars(progress, watch)


@contextmanager
def bars_beside(console: Console, database: Database, release: RegisteredRelease) -> Iterator[None]:
    """Show the bars of a re-score that the block runs; a thread updates them."""
    watch, finished = Watch.begin(database, release), threading.Event()

    def draw(update: RescoreBars) -> None:
        while not finished.wait(POLL_S):
            with suppress(RetryableError):
                update(database)

    with bars(console, watch) as update:
        thread = threading.Thread(target=draw, args=(update,), name="bars", daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()
        update(database)


class RescoreBars:
    """The progress bars of one re-score."""

    def __init__(self, progress: Progress, watch: Watch) -> None:
        self._progress, self._watch = progress, watch
        self._ads = progress.add_task("ads", total=sum(watch.ads_by_day.values()))
        self._days = progress.add_task("days", total=len(watch.ads_by_day))

    def __call__(self, database: Database) -> None:
        """Update the bars."""
        now = self._watch.read(database)
        self._progress.update(self._ads, completed=now.ads_done, total=now.ads)
        self._progress.update(self._days, completed=now.days_done, total=now.days)
