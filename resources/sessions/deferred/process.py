"""The worker process: takes ads from the queue, runs their tasks, writes and announces the answers.

Owns one attempt at some ads, and what follows from its end. It is a process, because a task's
Python code would hold the interpreter's lock of a session, whose ads can't wait; a task that
crashes or takes all memory ends no session either. It runs at idle priority, and computes for
LALAFO_AFTER_PATH_SHARE of the time.

Standard input is the control pipe: the parent sends what to do, and then a byte whenever a commit
has put ads in the queue. When it closes, because the session leaves or has died, the worker gives
back the ads that it has begun, and ends. It reports on standard output, one JSON line each time.
"""

import json
import os
import pickle
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg
import structlog

from ops.errors import LalafoError, Reason, ReleaseChangedError
from ops.isolation import describe, is_of_item
from ops.outcomes import TaskFailure
from ops.scoring.ready_release import ReadyRelease
from ops.tasks import Lane, all_tasks
from ops.types import Failure
from resources.inference.batch_release import load_heads
from resources.postgres.database import Database
from resources.processes.priority import become_idle
from resources.releases.active import read_active_releases
from resources.releases.installed_tasks import tasks_off
from resources.sessions.deferred.answers import Answers, TaskRunner
from resources.sessions.deferred.queue import (
    DeferredAd,
    Depth,
    delete,
    depth,
    give_back,
    lock,
    take,
)
from resources.sessions.deferred.results import write
from resources.sessions.deferred.stored_ads import StoredAd, read_ads
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore

LENGTH = struct.Struct(">I")
BEAT = b"\n"
"""A line without a report: the worker is between two tasks."""

BATCH_ADS = 8
"""Ads in one transaction: few, because it holds back PostgreSQL's clean-up of old rows."""

POLL_S = 1.0
CONNECTIONS = 4
_LONGEST_WAIT_S = 10.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Order:
    """What the parent sends: where and for whom the worker works."""

    conninfo: str
    settings: Settings
    run_id: str
    scored_topic: str


@dataclass(slots=True)
class Report:
    """What the worker did in one step, and what waits: a line on standard output."""

    scored: int = 0  # ads whose tasks have run
    dropped: int = 0  # rows of ads with another revision by now
    failed: int = 0  # ads that were begun too often
    seconds: dict[str, tuple[float, int]] = field(default_factory=dict)  # by task, with photos
    waiting: Depth = field(default_factory=Depth)

    @property
    def rows(self) -> int:
        """The number of rows that are no longer in the queue."""
        return self.scored + self.dropped + self.failed


class Stopped(Exception):
    """The parent has closed the control pipe."""


class DeferredWorker:
    """Takes and answers ads; `step` is one attempt at some of them.

    Args:
        stopped: asked between two tasks.
    """

    def __init__(
        self, database: Database, order: Order, *, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self.database = database
        self.order = order
        settings, tasks = order.settings, all_tasks()
        self._runner = TaskRunner(
            database, PhotoStore(settings.resolved_store_url), tasks, tasks_off(settings, tasks)
        )
        self._releases = ReleaseStore(settings.resolved_store_url)
        self._loaded: dict[str, ReadyRelease] = {}
        self._stopped = stopped

    def step(self) -> Report:
        """Answer the next ads of the queue; a report without rows if there are none.

        Raises:
            RetryableError: PostgreSQL or the store is unavailable; the ads may be taken again.
            ConfigurationError: a release can't be loaded; as above.
            Stopped: the parent asked for it; the ads may be taken again.
        """
        taken = take(self.database, BATCH_ADS)
        if not taken:
            return Report(waiting=depth(self.database))
        try:
            report = (self._give_up if taken[0].is_last else self._answer)(taken)
        except Exception as error:
            if isinstance(error, Stopped) or not is_of_item(error):
                give_back(self.database, taken)
                if isinstance(error, ReleaseChangedError):
                    log.info("deferred.release_changed", change=str(error))
                    return Report()
                raise
            # They are tried again, each alone.
            log.error("deferred.attempt_failed", ads=len(taken), error=describe(error))
            report = Report()
        report.waiting = depth(self.database)
        return report

    def _answer(self, taken: Sequence[DeferredAd]) -> Report:
        """Run the tasks of some ads, and write what they answered."""
        releases = self._active()
        with self.database.cursor() as cursor:
            timeout_ms = round(self.order.settings.stage_timeout_s * 1e3)
            # A frozen worker must not keep its rows.
            cursor.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, true)",
                (str(timeout_ms),),
            )
            held = lock(cursor, taken)
            ads = read_ads(self.database, held)

            def between() -> None:
                if self._stopped():
                    raise Stopped
                cursor.execute("SELECT")  # the transaction is not idle

            answers = self._runner.run(releases, ads, between=between)
            current = self._write(cursor, ads, answers, [it.name for it in releases])
            delete(cursor, held)
        done = {ad.queued.key for ad in current} - answers.changed
        return Report(len(done), len(held) - len(done), seconds=answers.seconds)

    def _give_up(self, taken: Sequence[DeferredAd]) -> Report:
        """Record that the tasks have failed for ads that were begun too often."""
        releases = self._active()
        with self.database.cursor() as cursor:
            held = lock(cursor, taken)
            ads = read_ads(self.database, held)
            answers = Answers()
            for ad in ads:
                answers.failures[ad.queued.key] = [
                    TaskFailure(
                        release.name,
                        task.name,
                        Failure(
                            Reason.INTERNAL_ERROR,
                            f"begun {ad.queued.attempts - 1} times after the ad's path, and never "
                            "finished",
                        ),
                    )
                    for release in releases
                    for task in self._runner.late_tasks(release)
                    if not self._runner.off(task.name, ad.queued.key.catalog)
                ]
            current = self._write(cursor, ads, answers, [it.name for it in releases])
            delete(cursor, held)
        log.error("deferred.given_up", ads=[str(ad.queued.key) for ad in current])
        return Report(failed=len(current), dropped=len(held) - len(current))

    def _write(
        self,
        cursor: psycopg.Cursor[Any],
        ads: Sequence[StoredAd],
        answers: Answers,
        releases: Sequence[str],
    ) -> list[StoredAd]:
        if not ads:
            return []
        order = self.order
        return write(
            *(cursor, ads, answers, releases),
            run_id=order.run_id,
            scored_topic=order.scored_topic,
        )

    def _active(self) -> list[ReadyRelease]:
        """The active releases, the live one first, without their backbones."""
        known = read_active_releases(self.database).all
        for release in known:
            if release.name not in self._loaded:
                self._loaded[release.name] = load_heads(release, self._releases)
        names = {release.name for release in known}
        self._loaded = {name: it for name, it in self._loaded.items() if name in names}
        return [self._loaded[release.name] for release in known]


def main() -> None:
    """Run the worker: standard input is the control pipe, standard output the reports."""
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        (size,) = LENGTH.unpack(_read_exactly(stdin.fileno(), LENGTH.size))
        order: Order = pickle.loads(_read_exactly(stdin.fileno(), size))  # noqa: S301 - the parent's
    reports = os.dup(1)
    os.dup2(2, 1)  # logs must not get among the reports
    if order.settings.background_priority == "idle":
        become_idle()
    if any(task.inputs.views for task in all_tasks() if task.lane is Lane.AFTER):
        import torch

        torch.set_num_threads(1)
    stop, wake = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(stop, wake), daemon=True).start()
    url = order.conninfo
    with closing(
        Database(url, application="lalafo-after-path", connections=CONNECTIONS)
    ) as database:

        def stopped() -> bool:
            os.write(reports, BEAT)
            return stop.is_set()

        worker = DeferredWorker(database, order, stopped=stopped)
        try:
            _work(worker, order.settings.after_path_share, reports, stop, wake)
        except (Stopped, BrokenPipeError):
            return


def _work(
    worker: DeferredWorker,
    share: float,
    reports: int,
    stop: threading.Event,
    wake: threading.Event,
) -> None:
    wait_s = POLL_S
    while not stop.is_set():
        wake.clear()
        started = time.monotonic()
        try:
            report = worker.step()
        except LalafoError as error:
            log.warning("deferred.waiting", error=str(error))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            stop.wait(wait_s)
            continue
        wait_s = POLL_S
        os.write(reports, json.dumps(asdict(report)).encode() + b"\n")
        if report.rows:
            stop.wait((time.monotonic() - started) * (1 / share - 1))
        else:
            wake.wait(POLL_S)


def _listen(stop: threading.Event, wake: threading.Event) -> None:
    """Set `wake` for each byte on standard input, and both at its end."""
    while os.read(0, 4_096):
        wake.set()
    stop.set()
    wake.set()


def _read_exactly(pipe: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(pipe, size - len(data))
        if not more:
            sys.exit(0)  # the parent has died
        data += more
    return data


if __name__ == "__main__":
    main()
