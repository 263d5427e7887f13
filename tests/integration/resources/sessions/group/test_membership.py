"""Group membership on PostgreSQL: assignment, detection of dead sessions, and handover.

Members in this process share and hand over partitions; those in separate processes are killed and
frozen.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice

import psycopg
import pytest

from ops.errors import RetryableError
from ops.session.ports import PartitionAssigned
from resources.postgres.database import Database
from resources.sessions.group import membership
from resources.sessions.group.leases import CHANNEL, Leases, read_leases
from resources.sessions.group.members import MembershipConfig, lead_s, read_sessions
from resources.sessions.group.membership import SessionMembership
from tests.conftest import connect_args
from tests.support.working_sessions import until

STREAM = "stream-1"
HOUR_S = 3_600.0


class Member:
    """A membership and its session's reactions: it releases every revoked partition."""

    def __init__(self, membership: SessionMembership) -> None:
        self.membership = membership
        self.reads: dict[int, int] = {}  # the offset to read from, by partition
        self.epochs: dict[int, int] = {}
        self.waited: set[int] = set()  # partitions whose records waited for the session's start
        self.lost: list[int] = []

    def poll(self) -> set[int]:
        """Apply the membership's changes; return the partitions that are read now."""
        for change in self.membership.changes():
            if isinstance(change, PartitionAssigned):
                self.reads[change.owner.partition] = change.offset
                self.epochs[change.owner.partition] = change.owner.epoch
                self.waited |= {change.owner.partition} if change.waited else set()
                continue
            self.reads.pop(change.partition, None)
            if change.lost:
                self.lost.append(change.partition)
            else:
                self.membership.release(change.partition)
        return set(self.reads)


@contextmanager
def joined(
    database: Database,
    run_id: str,
    *,
    partitions: int = 4,
    sessions: int = 1,
    session_s: float = HOUR_S,
    ttl_s: float = 60.0,
    code: str = "v1",
    ready: bool = True,
) -> Iterator[Member]:
    config = MembershipConfig(
        run_id=run_id,
        stream_id=STREAM,
        topic="ads",
        partitions=tuple(range(partitions)),
        sessions=sessions,
        session_s=session_s,
        ttl_s=ttl_s,
        code_version=code,
    )
    with SessionMembership(
        database, config, positions=lambda ps: {p: 100 + p for p in ps}
    ) as membership:
        if ready:
            membership.ready()
        yield Member(membership)


@contextmanager
def process(
    database: Database, run_id: str, *, ttl_s: float, partitions: int = 2, sessions: int = 1
) -> Iterator[subprocess.Popen[str]]:
    """A member in a separate process, which has acquired every partition."""
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
            assert printed(started, partitions) == {f"assigned {p}" for p in range(partitions)}
            yield started
        finally:
            started.send_signal(signal.SIGCONT)
            started.kill()


def printed(started: subprocess.Popen[str], count: int) -> set[str]:
    """The next `count` lines of a member's process, without its log lines."""
    assert started.stdout is not None
    lines = (line.strip() for line in started.stdout)
    changes = (line for line in lines if line.split()[0] in ("assigned", "revoked"))
    return set(islice(changes, count))


def holders(database: Database) -> dict[int, str]:
    """The living holders, by partition."""
    leases = read_leases(database, STREAM, "ads").values()
    return {lease.partition: lease.run_id for lease in leases if lease.alive}


def expiry(database: Database, run_id: str) -> object:
    with database.cursor() as cursor:
        cursor.execute("SELECT expires_at FROM lalafo.sessions WHERE run_id = %s", (run_id,))
        return cursor.fetchall()


def renewals(database: Database, run_id: str, times: int) -> None:
    """Wait for a number of renewals of a member: its thread has polled at least as often."""
    for _ in range(times):
        last = expiry(database, run_id)
        until(lambda before=last: expiry(database, run_id) != before)


def test_one_then_two_then_one(database: Database) -> None:
    """They share evenly with as few moves as possible; the remaining one gets all partitions."""
    with joined(database, "one", sessions=2) as one:
        until(lambda: one.poll() == {0, 1, 2, 3})
        assert one.reads == {p: 100 + p for p in range(4)}
        assert set(one.epochs.values()) == {1}
        with joined(database, "two", sessions=2) as two:
            until(lambda: len(one.poll()) == 2 and len(two.poll()) == 2)
            assert one.reads.keys() | two.reads.keys() == {0, 1, 2, 3}
            assert set(two.epochs.values()) == {2}, "a moved partition has a new epoch"
            assert holders(database) == {p: "one" if p in one.reads else "two" for p in range(4)}
        until(lambda: one.poll() == {0, 1, 2, 3})
        assert one.lost == []
    assert holders(database) == {}


def test_one_of_two_sessions_acquires_a_free_partition(database: Database) -> None:
    """Both try to acquire it, and one succeeds; nobody acquires a living holder's partition."""
    url, partitions = connect_args(database.url.render_as_string()), list(range(50))
    with ExitStack() as stack:
        runs = [
            (Leases(STREAM, "ads", name, 60), stack.enter_context(psycopg.connect(**url)))
            for name in ("one", "two")
        ]
        barrier = threading.Barrier(2)

        def acquire(leases: Leases, connection: psycopg.Connection, order: list[int]) -> set[int]:
            connection.autocommit = True
            barrier.wait(20)
            return {p for n in order for p in leases.acquire(connection, [n])}

        with ThreadPoolExecutor(2) as pool:
            one, two = pool.map(lambda run: acquire(*run, partitions), runs)
        assert not one & two
        assert one | two == set(partitions)
        for leases, connection in runs:
            assert leases.acquire(connection, partitions) == {}
        epochs = {lease.epoch for lease in read_leases(database, STREAM, "ads").values()}
        assert epochs == {1}


def test_a_killed_holder_is_detected_by_its_connection(database: Database) -> None:
    """kill -9: the kernel closes its connection, so nobody waits for its lease of an hour."""
    with (
        process(database, "one", ttl_s=HOUR_S, sessions=2) as one,
        joined(database, "two", partitions=2, sessions=2, ready=False, ttl_s=HOUR_S) as two,
    ):
        assert holders(database) == {0: "one", 1: "one"}
        one.kill()
        two.membership.ready()
        until(lambda: two.poll() == {0, 1})
        assert two.epochs == {0: 2, 1: 2}
        assert not read_sessions(database, "ads")["one"].alive


def test_a_frozen_holder_is_detected_by_expiry_and_loses_its_partitions(
    database: Database,
) -> None:
    """Its connection is open, but its lease expires; when it resumes, it gets the revocations."""
    with (
        process(database, "one", ttl_s=0.5, sessions=2) as one,
        joined(database, "two", partitions=2, sessions=2, ready=False) as two,
    ):
        os.kill(one.pid, signal.SIGSTOP)
        two.membership.ready()
        until(lambda: two.poll() == {0, 1})
        assert two.epochs == {0: 2, 1: 2}
        os.kill(one.pid, signal.SIGCONT)
        assert printed(one, 2) == {"revoked 0", "revoked 1"}
        until(lambda: two.poll() and set(holders(database).values()) == {"one", "two"})


def test_a_membership_survives_the_loss_of_its_connection(database: Database) -> None:
    """PostgreSQL drops the connection: the membership opens another, and its epochs stay."""
    with joined(database, "one", partitions=2, ttl_s=HOUR_S) as one:
        until(lambda: one.poll() == {0, 1})
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(backend_pid) FROM lalafo.sessions WHERE run_id = 'one'"
            )
            assert cursor.fetchall() == [(True,)]
        until(lambda: holders(database) == {})
        until(lambda: holders(database) == {0: "one", 1: "one"})
        assert one.poll() == {0, 1}
        assert (one.lost, one.epochs) == ([], {0: 1, 1: 1})


def test_a_session_that_lost_its_connection_and_partitions_shares_again(
    database: Database,
) -> None:
    """If the other session is faster, each knows its own partitions; none has two readers."""
    with (
        joined(database, "one", sessions=2) as one,
        joined(database, "two", sessions=2) as two,
    ):
        until(lambda: len(one.poll()) == len(two.poll()) == 2)
        for _ in range(3):
            with database.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(backend_pid) FROM lalafo.sessions "
                    "WHERE run_id = 'one'"
                )
            until(lambda: not {"one"} - set(holders(database).values()) or two.poll() == set())
            until(lambda: len(one.poll()) == len(two.poll()) == 2)
            until(lambda: one.poll() | two.poll() == {0, 1, 2, 3})
        state = read_leases(database, STREAM, "ads")
        for name, member in (("one", one), ("two", two)):
            for partition in member.reads:
                lease = state[partition]
                assert (lease.run_id, lease.epoch) == (name, member.epochs[partition])


def test_a_replaced_holder_gets_a_revocation(database: Database) -> None:
    """Its next renewal finds another epoch; it keeps the partitions that are still its own."""
    with joined(database, "one", partitions=2, ttl_s=1.0) as one:
        until(lambda: one.poll() == {0, 1})
        with database.cursor() as cursor:
            cursor.execute(
                "UPDATE lalafo.leases SET epoch = epoch + 1, run_id = 'another', "
                "expires_at = clock_timestamp() + interval '1 hour' WHERE partition = 1"
            )
        until(lambda: one.poll() == {0})
        assert one.lost == [1]
        assert holders(database) == {0: "one", 1: "another"}


def test_a_partition_that_a_commit_found_lost_is_not_renewed(database: Database) -> None:
    """The session reports it itself, without waiting for the renewal."""
    with joined(database, "one", partitions=2) as one:
        until(lambda: one.poll() == {0, 1})
        one.membership.mark_lost(0)
        one.membership.mark_lost(0)
        assert one.poll() == {1}
        assert one.lost == [0], "revoked once"


def test_a_warming_session_acquires_nothing(database: Database) -> None:
    """Others see it, and it waits until its model is loaded."""
    with joined(database, "one", ready=False, ttl_s=0.4) as one:
        renewals(database, "one", 3)
        assert holders(database) == {}
        assert read_sessions(database, "ads")["one"].member.state == "warming"
        one.membership.ready()
        until(lambda: one.poll() == {0, 1, 2, 3})


def test_a_due_session_leaves_only_when_its_successor_is_ready(database: Database) -> None:
    """After its time is up it reads on while the successor warms up, then hands over."""
    with joined(database, "old", session_s=0.01, ttl_s=0.4) as old:
        until(lambda: old.poll() == {0, 1, 2, 3})
        until(lambda: read_sessions(database, "ads")["old"].member.due_in_s < 0)
        with joined(database, "new", ready=False) as new:
            renewals(database, "old", 3)
            assert not old.membership.left
            assert old.poll() == {0, 1, 2, 3}
            new.membership.ready()
            until(lambda: old.poll() == set() and new.poll() == {0, 1, 2, 3})
            assert old.membership.left
            assert not new.membership.left


def test_records_wait_for_a_start_and_not_for_a_handover(database: Database) -> None:
    """Only for the first partitions of a session that no other session held until it was ready."""
    with joined(database, "first", sessions=2) as first:
        until(lambda: first.poll() == {0, 1, 2, 3})
        assert first.waited == {0, 1, 2, 3}, "there was no session before"
        first.membership.extend(range(5))
        until(lambda: first.poll() == {0, 1, 2, 3, 4})
        assert 4 not in first.waited, "a new partition waited for no start"
        with joined(database, "second", sessions=2, partitions=5) as second:
            until(lambda: len(first.poll()) == 3 and len(second.poll()) == 2)
            assert second.waited == set(), "they were handed over"
            first.membership.leave()
            until(lambda: first.poll() == set() and second.poll() == {0, 1, 2, 3, 4})
            assert second.waited == set()
    with joined(database, "third", ready=False) as third:
        assert holders(database) == {}
        third.membership.ready()
        until(lambda: third.poll() == {0, 1, 2, 3})
        assert third.waited == {0, 1, 2, 3}, "the session before had ended"


def test_a_killed_holders_records_wait_for_no_start(database: Database) -> None:
    """Another session was there when the holder died: that is an outage, which latencies show."""
    with (
        process(database, "one", ttl_s=60.0, sessions=2) as one,
        joined(database, "two", partitions=2, sessions=2) as two,
    ):
        until(lambda: len(two.poll()) == 1)
        one.kill()
        until(lambda: two.poll() == {0, 1})
        assert two.waited == set()


def test_a_session_of_older_code_hands_over(database: Database) -> None:
    """A rollout of another version is a handover, however recent the old session is."""
    with joined(database, "old", code="v1") as old:
        until(lambda: old.poll() == {0, 1, 2, 3})
        with joined(database, "new", code="v2") as new:
            until(lambda: old.poll() == set() and new.poll() == {0, 1, 2, 3})
        assert old.membership.left


def test_a_leaving_session_acquires_nothing_more(database: Database) -> None:
    """Its partitions are revoked once; free partitions are left to other sessions."""
    with joined(database, "one", partitions=2, ttl_s=0.4) as one:
        until(lambda: one.poll() == {0, 1})
        one.membership.leave()
        one.membership.leave()
        until(lambda: one.poll() == set())
        renewals(database, "one", 3)
        assert one.membership.changes() == []
        assert holders(database) == {}


def test_a_release_wakes_the_waiting_session(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polls are ten minutes apart here, so only the notification can wake it."""
    monkeypatch.setattr(membership, "POLL_S", 600.0)
    url = connect_args(database.url.render_as_string())
    with ExitStack() as stack:
        notifier = stack.enter_context(psycopg.connect(**url, autocommit=True))

        def notify() -> bool:
            notifier.execute(f"NOTIFY {CHANNEL}")
            return True

        def end() -> None:
            monkeypatch.setattr(membership, "POLL_S", 0.05)
            notify()

        one = stack.enter_context(joined(database, "one", partitions=1, ttl_s=HOUR_S))
        stack.callback(end)
        until(lambda: notify() and one.poll() == {0})
        two = stack.enter_context(joined(database, "two", partitions=1, ttl_s=HOUR_S, code="v2"))
        stack.callback(end)
        until(lambda: notify() and one.membership.left)
        assert two.poll() == set()
        assert one.poll() == set(), "released"
        until(lambda: two.poll() == {0})


def test_a_position_that_is_not_available_yet_is_retried(database: Database) -> None:
    """Kafka is unavailable while a partition is acquired: its assignment follows later."""
    answers = iter([RetryableError("no broker"), RetryableError("no broker"), 7])

    def positions(partitions: Sequence[int]) -> dict[int, int]:
        answer = next(answers)
        if isinstance(answer, RetryableError):
            raise answer
        return dict.fromkeys(partitions, answer)

    config = MembershipConfig("one", STREAM, "ads", (0,), 1, HOUR_S, 60.0, "v1")
    with SessionMembership(database, config, positions=positions) as membership:
        one = Member(membership)
        membership.ready()
        until(lambda: one.poll() == {0})
        assert one.reads == {0: 7}
        assert holders(database) == {0: "one"}


def test_offsets_are_asked_for_all_partitions_together_and_nobody_waits(
    database: Database,
) -> None:
    """While Kafka does not answer, the session stays alive and keeps its 200 partitions."""
    asked: list[Sequence[int]] = []
    answering = threading.Event()

    def positions(partitions: Sequence[int]) -> dict[int, int]:
        asked.append(partitions)
        assert answering.wait(60)
        return {p: 1_000 + p for p in partitions}

    config = MembershipConfig("one", STREAM, "ads", tuple(range(200)), 1, HOUR_S, 0.5, "v1")
    with SessionMembership(database, config, positions=positions) as membership:
        one = Member(membership)
        membership.ready()
        until(lambda: asked)

        def expiry() -> object:
            with database.cursor() as cursor:
                cursor.execute("SELECT expires_at FROM lalafo.sessions WHERE run_id = 'one'")
                return cursor.fetchall()[0][0]

        first = expiry()
        until(lambda: expiry() > first)
        assert read_sessions(database, "ads")["one"].alive
        assert one.poll() == set()
        answering.set()
        until(lambda: one.poll() == set(range(200)))
    assert asked == [list(range(200))]
    assert one.reads == {p: 1_000 + p for p in range(200)}


def test_a_partition_whose_position_was_lost_is_acquired_again(database: Database) -> None:
    """Under a new epoch, from the offset that is asked for then; the others are read on."""
    with joined(database, "one", partitions=3) as one:
        until(lambda: one.poll() == {0, 1, 2})
        before = dict(one.epochs)
        one.membership.acquire_again(1)
        until(lambda: one.poll() == {0, 1, 2} and one.epochs[1] > before[1])
        assert one.lost == [1]
        assert (one.epochs[0], one.epochs[2]) == (before[0], before[2])


def test_leaving_does_not_wait_for_the_server(database: Database) -> None:
    """While a statement hangs; the partitions are revoked once it has come back."""
    with joined(database, "one", partitions=2, ttl_s=1.0) as one:
        until(lambda: one.poll() == {0, 1})
        with database.cursor() as cursor:
            cursor.execute("LOCK TABLE lalafo.leases IN SHARE MODE")
            until(one.membership._lock.locked)
            leaving = threading.Thread(target=one.membership.leave)
            leaving.start()
            leaving.join(60)
            assert not leaving.is_alive()
            assert one.membership.left
            assert one.membership._lock.locked()
        until(lambda: one.poll() == set())
        until(lambda: holders(database) == {})


def test_partitions_that_are_added_are_acquired(database: Database) -> None:
    with joined(database, "one", partitions=2) as one:
        until(lambda: one.poll() == {0, 1})
        one.membership.extend((0, 1, 2, 3))
        until(lambda: one.poll() == {0, 1, 2, 3})


def test_two_streams_are_independent(database: Database) -> None:
    """A broker that restarted without data is another stream, with separate leases."""
    other = MembershipConfig("two", "stream-2", "ads", (0,), 1, HOUR_S, 60.0, "v1")
    with (
        joined(database, "one", partitions=1) as one,
        SessionMembership(database, other, positions=lambda ps: dict.fromkeys(ps, 0)) as membership,
    ):
        two = Member(membership)
        membership.ready()
        until(lambda: one.poll() == {0} and two.poll() == {0})
        assert not one.membership.left and not two.membership.left


@pytest.mark.parametrize(("session_s", "expected"), [(3_600, 90.0), (60, 30.0), (0.2, 0.1)])
def test_a_successor_is_requested_in_time(session_s: float, expected: float) -> None:
    """90 s ahead, because it has to import torch; for a short session, half its length."""
    assert lead_s(session_s) == expected
