"""Reads which sessions serve a bench, and which of them holds each partition.

A bench may start when every partition is held and enough sessions are ready. Everything is read
from `lalafo.sessions` and `lalafo.leases`.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from lalafo_assets.bench.harness.cpu import process_tree
from ops.errors import LalafoError
from resources.postgres.database import Database
from resources.sessions.group.leases import read_leases

START_S = 180.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A registered session."""

    run_id: str
    pid: int
    state: str


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of one topic."""

    database: Database
    stream_id: str
    topic: str
    partitions: int
    dagster_pids: tuple[int, ...]

    def registered(self) -> list[SessionRow]:
        """The sessions whose registration has not expired."""
        with self.database.cursor() as cursor:
            cursor.execute(
                "SELECT run_id, pid, state FROM lalafo.sessions WHERE stream_id = %s "
                "AND topic = %s AND expires_at > clock_timestamp()",
                (self.stream_id, self.topic),
            )
            return [SessionRow(*row) for row in cursor.fetchall()]

    def holders(self) -> dict[int, str]:
        """The run that holds each partition's lease now."""
        leases = read_leases(self.database, self.stream_id, self.topic)
        return {partition: lease.run_id for partition, lease in leases.items() if lease.alive}

    def pids(self) -> set[int]:
        """The process ids of the sessions on this machine."""
        return {row.pid for row in self.registered() if psutil.pid_exists(row.pid)}

    def wait(self, count: int, *, check: Callable[[], None]) -> list[SessionRow]:
        """Wait until every partition is held and `count` sessions are ready.

        Returns:
            The ready sessions.

        Raises:
            LalafoError: it took longer than START_S.
        """
        deadline = time.monotonic() + START_S
        while True:
            check()
            ready = [row for row in self.registered() if row.state == "ready"]
            if len(self.holders()) == self.partitions and len(ready) >= count:
                return ready
            if time.monotonic() > deadline:
                raise LalafoError(
                    f"{len(ready)} of {count} sessions are ready and {len(self.holders())} of "
                    f"{self.partitions} partitions are held after {START_S:.0f} s"
                )
            time.sleep(_POLL_S)

    def kill_live(self) -> int:
        """SIGKILL the session that holds the first partition; returns its process id.

        Raises:
            LalafoError: no process of this stack holds it.
        """
        holder = self.holders().get(min(self.holders(), default=0))
        registered = {row.pid for row in self.registered() if row.run_id == holder}
        started = {process.pid for pid in self.dagster_pids for process in process_tree(pid)}
        pids = sorted(registered & started)  # never a process that this stack did not start
        if not pids:
            raise LalafoError(
                f"run {holder} holds the first partition, but is no process of this stack"
            )
        os.kill(pids[0], signal.SIGKILL)
        return pids[0]


def count_done(database: Database, catalog: str) -> int:
    """How many of a catalog's ads are committed with another status than `received`."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM lalafo.ads WHERE catalog = %s AND status <> 'received'",
            (catalog,),
        )
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])
