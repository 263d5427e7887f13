"""A session's seat on real PostgreSQL: who reads what, seen dead at once, and handed over.

Seats in this process share and hand over; those in a process of their own are killed and frozen.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice

import psycopg
import pytest

from ops.errors import RetryableError
from ops.session.ports import PartitionAssigned
from resources.postgres.database import Database
from resources.sessions import membership
from resources.sessions.leases import CHANNEL, Leases, read_leases, read_sessions
from resources.sessions.membership import MembershipConfig, SessionMembership, lead_s
from tests.conftest import connect_args
from tests.support.working_sessions import until

STREAM = "stream-1"
FOREVER_S = 3_600.0


class Sitter:
    """A seat, and what a session would do with it: it gives up what it is asked for."""

    def __init__(self, membership: SessionMembership) -> None:
        self.membership = membership
        self.reads: dict[int, int] = {}  # the offset to read from, by partition
        self.epochs: dict[int, int] = {}
        self.lost: list[int] = []

    def look(self) -> set[int]:
        """Follow what the seat tells; the partitions that are read now."""
        for change in self.membership.changes():
            if isinstance(change, PartitionAssigned):
                self.reads[change.owner.partition] = change.offset
                self.epochs[change.owner.partition] = change.owner.epoch
                continue
            self.reads.pop(change.partition, None)
            if change.lost:
                self.lost.append(change.partition)
            else:
                self.membership.give_up(change.partition)
        return set(self.reads)


@contextmanager
def sitting(
    database: Database,
    run_id: str,
    *,
    partitions: int = 4,
    sessions: int = 1,
    session_s: float = FOREVER_S,
    ttl_s: float = 60.0,
    code: str = "v1",
    ready: bool = True,
) -> Iterator[Sitter]:
    terms = MembershipConfig(
        run_id=run_id,
        stream_id=STREAM,
        topic="ads",
        partitions=tuple(range(partitions)),
        sessions=sessions,
        session_s=session_s,
        ttl_s=ttl_s,
        code_version=code,
    )
    with SessionMembership(database, terms, position=lambda p: 100 + p) as membership:
        if ready:
            membership.ready()
        yield Sitter(membership)


@contextmanager
def process(
    database: Database, run_id: str, *, ttl_s: float, partitions: int = 2, sessions: int = 1
) -> Iterator[subprocess.Popen[str]]:
    """A seat in a process of its own, that has taken every partition."""
    url = database.url.render_as_string(hide_password=False)
    arguments = [url, run_id, str(ttl_s), str(partitions), str(sessions)]
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.support.membership_process", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with started:
        try:
            assert printed(started, partitions) == {f"takes {p}" for p in range(partitions)}
            yield started
        finally:
            started.send_signal(signal.SIGCONT)
            started.kill()


def printed(started: subprocess.Popen[str], count: int) -> set[str]:
    """The next so many lines of a seat's process, without what it logs."""
    assert started.stdout is not None
    lines = (line.strip() for line in started.stdout)
    return set(islice((line for line in lines if line.split()[0] in ("takes", "loses")), count))


def held_by(database: Database) -> dict[int, str]:
    """The living holders, by partition."""
    leases = read_leases(database, STREAM, "ads").values()
    return {lease.partition: lease.run_id for lease in leases if lease.alive}


def expiry(database: Database, run_id: str) -> object:
    with database.cursor() as cursor:
        cursor.execute("SELECT expires_at FROM lalafo.sessions WHERE run_id = %s", (run_id,))
        return cursor.fetchall()


def renewals(database: Database, run_id: str, times: int) -> None:
    """Wait until a seat was renewed so often: its keeper has looked at least as often."""
    for _ in range(times):
        last = expiry(database, run_id)
        until(lambda before=last: expiry(database, run_id) != before)


def test_one_then_two_then_one(database: Database) -> None:
    """They share evenly, move no more than that takes, and the one left gets all back."""
    with sitting(database, "one", sessions=2) as one:
        until(lambda: one.look() == {0, 1, 2, 3})
        assert one.reads == {p: 100 + p for p in range(4)}
        assert set(one.epochs.values()) == {1}
        with sitting(database, "two", sessions=2) as two:
            until(lambda: len(one.look()) == 2 and len(two.look()) == 2)
            assert one.reads.keys() | two.reads.keys() == {0, 1, 2, 3}
            assert set(two.epochs.values()) == {2}, "what changed hands has a new epoch"
            assert held_by(database) == {p: "one" if p in one.reads else "two" for p in range(4)}
        until(lambda: one.look() == {0, 1, 2, 3})
        assert one.lost == []
    assert held_by(database) == {}


def test_of_two_that_want_a_partition_one_gets_it(database: Database) -> None:
    """Both saw it free: the lease decides, and what a living holder has nobody takes."""
    url, wanted = connect_args(database.url.render_as_string()), list(range(50))
    with ExitStack() as stack:
        hands = [
            (Leases(STREAM, "ads", name, 60), stack.enter_context(psycopg.connect(**url)))
            for name in ("one", "two")
        ]
        barrier = threading.Barrier(2)

        def take(leases: Leases, connection: psycopg.Connection, order: list[int]) -> set[int]:
            connection.autocommit = True
            barrier.wait(20)
            return {p for n in order for p in leases.take(connection, [n])}

        with ThreadPoolExecutor(2) as pool:
            one, two = pool.map(lambda hand: take(*hand, wanted), hands)
        assert not one & two
        assert one | two == set(wanted)
        for leases, connection in hands:
            assert leases.take(connection, wanted) == {}
        epochs = {lease.epoch for lease in read_leases(database, STREAM, "ads").values()}
        assert epochs == {1}


def test_a_killed_holder_is_seen_by_its_connection(database: Database) -> None:
    """kill -9: the kernel closes its connection, and no lease of an hour is waited for."""
    with (
        process(database, "one", ttl_s=FOREVER_S, sessions=2) as one,
        sitting(database, "two", partitions=2, sessions=2, ready=False, ttl_s=FOREVER_S) as two,
    ):
        assert held_by(database) == {0: "one", 1: "one"}
        one.kill()
        two.membership.ready()
        until(lambda: two.look() == {0, 1})
        assert two.epochs == {0: 2, 1: 2}
        assert not read_sessions(database, "ads")["one"].alive


def test_a_frozen_holder_is_seen_by_expiry_and_told_when_it_wakes(database: Database) -> None:
    """Its connection is open, but nothing renews; awake, it learns that it was replaced."""
    with (
        process(database, "one", ttl_s=0.5, sessions=2) as one,
        sitting(database, "two", partitions=2, sessions=2, ready=False) as two,
    ):
        os.kill(one.pid, signal.SIGSTOP)
        two.membership.ready()
        until(lambda: two.look() == {0, 1})
        assert two.epochs == {0: 2, 1: 2}
        os.kill(one.pid, signal.SIGCONT)
        assert printed(one, 2) == {"loses 0", "loses 1"}
        until(lambda: two.look() and set(held_by(database).values()) == {"one", "two"})


def test_a_seat_outlives_its_connection(database: Database) -> None:
    """PostgreSQL drops the connection: the seat opens another, and its epochs stay."""
    with sitting(database, "one", partitions=2, ttl_s=FOREVER_S) as one:
        until(lambda: one.look() == {0, 1})
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(backend_pid) FROM lalafo.sessions WHERE run_id = 'one'"
            )
            assert cursor.fetchall() == [(True,)]
        until(lambda: held_by(database) == {})
        until(lambda: held_by(database) == {0: "one", 1: "one"})
        assert one.look() == {0, 1}
        assert (one.lost, one.epochs) == ([], {0: 1, 1: 1})


def test_who_lost_its_connection_and_its_partitions_is_told_and_shares_again(
    database: Database,
) -> None:
    """The other session may be faster: then each knows what it has, and no partition has two."""
    with (
        sitting(database, "one", sessions=2) as one,
        sitting(database, "two", sessions=2) as two,
    ):
        until(lambda: len(one.look()) == len(two.look()) == 2)
        for _ in range(3):
            with database.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(backend_pid) FROM lalafo.sessions "
                    "WHERE run_id = 'one'"
                )
            until(lambda: not {"one"} - set(held_by(database).values()) or two.look() == set())
            until(lambda: len(one.look()) == len(two.look()) == 2)
            until(lambda: one.look() | two.look() == {0, 1, 2, 3})
        state = read_leases(database, STREAM, "ads")
        for name, sitter in (("one", one), ("two", two)):
            for partition in sitter.reads:
                lease = state[partition]
                assert (lease.run_id, lease.epoch) == (name, sitter.epochs[partition])


def test_a_holder_that_was_replaced_is_told(database: Database) -> None:
    """The next renewal finds another epoch; what is still its own it keeps."""
    with sitting(database, "one", partitions=2, ttl_s=1.0) as one:
        until(lambda: one.look() == {0, 1})
        with database.cursor() as cursor:
            cursor.execute(
                "UPDATE lalafo.leases SET epoch = epoch + 1, run_id = 'another', "
                "expires_at = clock_timestamp() + interval '1 hour' WHERE partition = 1"
            )
        until(lambda: one.look() == {0})
        assert one.lost == [1]
        assert held_by(database) == {0: "one", 1: "another"}


def test_what_a_commit_found_lost_is_not_renewed(database: Database) -> None:
    """The session says so itself, without waiting for the renewal."""
    with sitting(database, "one", partitions=2) as one:
        until(lambda: one.look() == {0, 1})
        one.membership.lose(0)
        one.membership.lose(0)
        assert one.look() == {1}
        assert one.lost == [0], "told once"


def test_a_warming_session_takes_nothing(database: Database) -> None:
    """It is seen, and waits until its model is loaded."""
    with sitting(database, "one", ready=False, ttl_s=0.4) as one:
        renewals(database, "one", 3)
        assert held_by(database) == {}
        assert read_sessions(database, "ads")["one"].member.state == "warming"
        one.membership.ready()
        until(lambda: one.look() == {0, 1, 2, 3})


def test_a_due_session_leaves_only_when_a_fresh_one_is_ready(database: Database) -> None:
    """Its hour is over: it reads on beside a successor that warms up, then hands over."""
    with sitting(database, "old", session_s=0.01, ttl_s=0.4) as old:
        until(lambda: old.look() == {0, 1, 2, 3})
        until(lambda: read_sessions(database, "ads")["old"].member.due_in_s < 0)
        with sitting(database, "new", ready=False) as new:
            renewals(database, "old", 3)
            assert not old.membership.left
            assert old.look() == {0, 1, 2, 3}
            new.membership.ready()
            until(lambda: old.look() == set() and new.look() == {0, 1, 2, 3})
            assert old.membership.left
            assert not new.membership.left


def test_a_session_of_older_code_hands_over(database: Database) -> None:
    """Rolling to another version is a handover, however young the old one is."""
    with sitting(database, "old", code="v1") as old:
        until(lambda: old.look() == {0, 1, 2, 3})
        with sitting(database, "new", code="v2") as new:
            until(lambda: old.look() == set() and new.look() == {0, 1, 2, 3})
        assert old.membership.left


def test_a_session_that_leaves_takes_nothing_more(database: Database) -> None:
    """Asked once for what it has; what falls free meanwhile is for others."""
    with sitting(database, "one", partitions=2, ttl_s=0.4) as one:
        until(lambda: one.look() == {0, 1})
        one.membership.leave()
        one.membership.leave()
        until(lambda: one.look() == set())
        renewals(database, "one", 3)
        assert one.membership.changes() == []
        assert held_by(database) == {}


def test_giving_up_wakes_the_one_that_waits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks are ten minutes apart here, so that only the notification can be what wakes it."""
    monkeypatch.setattr(membership, "LOOK_S", 600.0)
    url = connect_args(database.url.render_as_string())
    with ExitStack() as stack:
        bell = stack.enter_context(psycopg.connect(**url, autocommit=True))

        def ring() -> bool:
            bell.execute(f"NOTIFY {CHANNEL}")
            return True

        def end() -> None:
            monkeypatch.setattr(membership, "LOOK_S", 0.05)
            ring()

        one = stack.enter_context(sitting(database, "one", partitions=1, ttl_s=FOREVER_S))
        stack.callback(end)
        until(lambda: ring() and one.look() == {0})
        two = stack.enter_context(
            sitting(database, "two", partitions=1, ttl_s=FOREVER_S, code="v2")
        )
        stack.callback(end)
        until(lambda: ring() and one.membership.left)
        assert two.look() == set()
        assert one.look() == set(), "given up"
        until(lambda: two.look() == {0})


def test_a_position_that_cannot_be_read_yet_is_asked_for_again(database: Database) -> None:
    """Kafka is away while a partition is taken: it is held, and told once it can be read."""
    answers = iter([RetryableError("away"), RetryableError("away"), 7])

    def position(partition: int) -> int:
        answer = next(answers)
        if isinstance(answer, RetryableError):
            raise answer
        return answer

    terms = MembershipConfig("one", STREAM, "ads", (0,), 1, FOREVER_S, 60.0, "v1")
    with SessionMembership(database, terms, position=position) as membership:
        one = Sitter(membership)
        membership.ready()
        until(lambda: one.look() == {0})
        assert one.reads == {0: 7}
        assert held_by(database) == {0: "one"}


def test_two_streams_do_not_know_each_other(database: Database) -> None:
    """A broker that came back empty is another stream: its leases are its own."""
    other = MembershipConfig("two", "stream-2", "ads", (0,), 1, FOREVER_S, 60.0, "v1")
    with (
        sitting(database, "one", partitions=1) as one,
        SessionMembership(database, other, position=int) as membership,
    ):
        two = Sitter(membership)
        membership.ready()
        until(lambda: one.look() == {0} and two.look() == {0})
        assert not one.membership.left and not two.membership.left


@pytest.mark.parametrize(("session_s", "expected"), [(3_600, 90.0), (60, 30.0), (0.2, 0.1)])
def test_a_successor_is_asked_for_in_time(session_s: float, expected: float) -> None:
    """A minute and a half ahead: it has torch to import. A short session: half of it."""
    assert lead_s(session_s) == expected
