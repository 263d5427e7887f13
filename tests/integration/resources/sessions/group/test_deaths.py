"""The deaths of sessions are counted when their partitions are acquired; the test's fake is held to
the same rules."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest

from ops.outcomes import Batch
from ops.session.admission import Ownership
from ops.session.ports import CarefulReading
from resources.postgres.database import Database
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.deaths import SessionDeaths
from resources.sessions.group.leases import Leases
from tests.conftest import connect_args
from tests.support.session_world import World

STREAM, TOPIC = "stream-1", "ads"
RECORDS = 100


@dataclass
class Stored:
    """One partition in PostgreSQL, and the session that owns it."""

    database: Database
    epoch: int = 0
    sessions: int = 0
    connection: psycopg.Connection | None = None
    leases: Leases | None = None

    def acquire(self) -> None:
        self.sessions += 1
        url = connect_args(self.database.url.render_as_string())
        self.connection = psycopg.connect(**url, autocommit=True)
        self.leases = Leases(STREAM, TOPIC, f"run-{self.sessions}", 60)
        # A closed connection is gone from the server's list a moment later.
        for _ in range(1_000):
            epochs = self.leases.acquire(self.connection, [0])
            if epochs:
                self.epoch = epochs[0]
                return
            self.connection.execute("SELECT pg_sleep(0.01)")
        raise AssertionError("the partition never became free")

    def die(self) -> None:
        assert self.connection is not None
        self.connection.close()

    def end(self, *, failed: bool = False) -> None:
        assert self.connection is not None and self.leases is not None
        self.leases.release(self.connection, {0: self.epoch}, failed=failed)
        self.connection.close()

    def commit(self, offset: int) -> None:
        writer = ResultWriter(self.database, Holder("run", STREAM, TOPIC, "ads.scored"))
        batch = Batch(releases=(), partitions=frozenset({0}), next_offsets={0: offset})
        writer.commit(batch, {0: self.epoch})

    def attempt(self, offset: int, epoch: int | None = None) -> None:
        owner = Ownership(0, self.epoch if epoch is None else epoch)
        SessionDeaths(self.database, STREAM, TOPIC).attempt(owner, offset)

    def reading(self) -> CarefulReading | None:
        return SessionDeaths(self.database, STREAM, TOPIC).read([0], RECORDS).get(0)


@dataclass
class Faked:
    """The same in memory."""

    world: World = field(default_factory=World)
    dead: bool = False

    def acquire(self) -> None:
        if self.dead:
            self.world.quarantine.died()
        self.dead = True
        self.world.epochs[0] = self.world.epochs.get(0, 0) + 1

    def die(self) -> None: ...

    def end(self, *, failed: bool = False) -> None:
        self.dead = failed

    def commit(self, offset: int) -> None:
        self.world.offsets[0] = offset

    def attempt(self, offset: int, epoch: int | None = None) -> None:
        owner = Ownership(0, self.world.epochs[0] if epoch is None else epoch)
        self.world.quarantine.attempt(owner, offset)

    def reading(self) -> CarefulReading | None:
        return self.world.quarantine.read([0], RECORDS).get(0)


Place = Stored | Faked


@pytest.fixture(params=["PostgreSQL", "the fake"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "the fake":
        yield Faked()
        return
    stored = Stored(request.getfixturevalue("database"))
    yield stored
    if stored.connection is not None:
        stored.connection.close()


def die_times(place: Place, times: int) -> None:
    for _ in range(times):
        place.acquire()
        place.die()
    place.acquire()


def test_two_deaths_at_one_offset_are_followed_by_careful_reading(place: Place) -> None:
    """From that offset on, for as many records as may have been in process."""
    die_times(place, 1)
    assert place.reading() is None
    place.die()
    place.acquire()
    assert place.reading() == CarefulReading(until=RECORDS - 1)


def test_deaths_at_different_offsets_suspect_nothing(place: Place) -> None:
    """As an operator's kill -9 of sessions that make progress."""
    for offset in range(5):
        place.acquire()
        place.commit(offset + 1)
        place.die()
    place.acquire()
    assert place.reading() is None


@pytest.mark.parametrize("ends", [1, 5])
def test_sessions_that_release_their_partitions_did_not_die(place: Place, ends: int) -> None:
    """However often a session ends as planned without a commit."""
    for _ in range(ends):
        place.acquire()
        place.end()
    die_times(place, 1)
    assert place.reading() is None


def test_a_session_that_fails_counts_as_dead(place: Place) -> None:
    """It released its partitions, because an exception ended it."""
    for _ in range(2):
        place.acquire()
        place.end(failed=True)
    place.acquire()
    assert place.reading() is not None


def test_a_record_is_counted_against_only_while_it_is_in_process(place: Place) -> None:
    """A death before the attempt, or after its commit, is not the record's."""
    place.acquire()
    place.commit(10)
    place.die()
    die_times(place, 1)
    assert place.reading() == CarefulReading(until=10 + RECORDS)
    place.attempt(12)
    place.die()
    place.acquire()
    assert place.reading() == CarefulReading(10 + RECORDS, suspect=12, deaths=1)
    place.die()  # before another attempt
    place.acquire()
    assert place.reading() == CarefulReading(10 + RECORDS, suspect=12, deaths=1)
    place.attempt(12)
    place.commit(13)
    place.die()
    place.acquire()
    assert place.reading() == CarefulReading(10 + RECORDS, suspect=12, deaths=1)
    place.attempt(13)
    place.die()
    place.acquire()
    place.attempt(13)
    place.die()
    place.acquire()
    reading = place.reading()
    assert reading is not None and (reading.suspect, reading.deaths) == (13, 2)


def test_a_later_session_goes_on_carefully_until_the_records_are_over(place: Place) -> None:
    """A planned handover in between does not end it; the last of the records does."""
    die_times(place, 2)
    place.commit(RECORDS - 2)
    place.end()
    place.acquire()
    assert place.reading() == CarefulReading(until=RECORDS - 1)
    place.commit(RECORDS - 1)
    assert place.reading() is None


def test_an_attempt_of_an_earlier_owner_changes_nothing(place: Place) -> None:
    """A session that was frozen does not disturb its successor."""
    die_times(place, 2)
    place.attempt(3)
    place.attempt(1, epoch=1)
    place.die()
    place.acquire()
    reading = place.reading()
    assert reading is not None and (reading.suspect, reading.deaths) == (3, 1)


def test_deaths_far_apart_are_not_related(database: Database) -> None:
    """Two kills of an idle session on different days suspect nothing."""
    place = Stored(database)
    die_times(place, 1)
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.session_deaths SET died_at = died_at - interval '2 hours'")
    place.die()
    place.acquire()
    assert place.reading() is None
    place.die()


def test_a_living_session_writes_nothing_about_deaths(database: Database) -> None:
    """Without a death there is no row."""
    place = Stored(database)
    for _ in range(3):
        place.acquire()
        place.commit(place.epoch)
        place.end()
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.session_deaths")
        assert cursor.fetchone() == (0,)
