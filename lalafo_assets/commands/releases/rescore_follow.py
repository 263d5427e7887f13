"""A re-score followed from a terminal: its steps taken, its progress shown until it ends.

Decides how often to look and what to draw. Ctrl-C ends the looking, never the re-score.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dagster as dg
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ops.errors import NotReadyError, RetryableError
from resources.dagster.backfills import advance, check_progress
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease
from resources.rescoring.attempts import Rescore, latest
from resources.rescoring.progress import Watch
from resources.rescoring.steps import Stage, Step

LOOK_S = 0.5


class AdsASecond(ProgressColumn):
    """The pace."""

    def render(self, task: Task) -> Text:
        """Ads a second, as rich reckons it."""
        if task.speed is None or task.description != "ads":
            return Text("")
        return Text(f"{task.speed:,.0f} ads/s")


def start(instance: dg.DagsterInstance, database: Database, row: Rescore, console: Console) -> Step:
    """Take a re-score's steps until its backfill runs; waits for sessions a minute at most.

    Raises:
        NotReadyError: the release can't come in force now.
    """
    began, last = time.monotonic(), ""
    while True:
        step = advance(instance, database, row, announced_s=time.monotonic() - began)
        if step.stage in (Stage.CANCELLED, Stage.WAITS):
            raise NotReadyError(step.message)
        if step.message != last:
            console.print(step.message, highlight=False)
            last = step.message
        if step.stage is not Stage.ANNOUNCED:
            return step
        time.sleep(LOOK_S)


def follow(
    instance: dg.DagsterInstance, database: Database, row: Rescore, watch: Watch, console: Console
) -> Step:
    """Show a running re-score until it ends; what became of it.

    Raises:
        NotReadyError: it ended before everything was scored; the message says what to do.
    """
    with bars(console, watch) as show:
        while True:
            step = check_progress(instance, database, row)
            show(database)
            if step.stage is Stage.DONE:
                return step
            now = latest(database, row.release)
            if step.stage is Stage.CANCELLED:
                raise NotReadyError(step.message)
            if now is not None and not now.unfinished and now.state != "done":
                raise NotReadyError(f"re-score {row.backfill_id} was cancelled")
            time.sleep(LOOK_S)


@contextmanager
def bars(console: Console, watch: Watch) -> Iterator["Show"]:
    """Two bars, days and ads; call what this gives to bring them up to date."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        AdsASecond(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        yield Show(progress, watch)


@contextmanager
def bars_beside(console: Console, database: Database, release: RegisteredRelease) -> Iterator[None]:
    """The bars of a release's re-score while the block does it, drawn from a thread."""
    watch, over = Watch.begin(database, release), threading.Event()

    def draw(show: Show) -> None:
        while not over.wait(LOOK_S):
            with suppress(RetryableError):
                show(database)

    with bars(console, watch) as show:
        thread = threading.Thread(target=draw, args=(show,), name="bars", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        show(database)


class Show:
    """The bars of one re-score."""

    def __init__(self, progress: Progress, watch: Watch) -> None:
        self._progress, self._watch = progress, watch
        self._ads = progress.add_task("ads", total=sum(watch.ads_by_day.values()))
        self._days = progress.add_task("days", total=len(watch.ads_by_day))

    def __call__(self, database: Database) -> None:
        """Bring them up to date."""
        now = self._watch.read(database)
        self._progress.update(self._ads, completed=now.ads_done, total=now.ads)
        self._progress.update(self._days, completed=now.days_done, total=now.days)
