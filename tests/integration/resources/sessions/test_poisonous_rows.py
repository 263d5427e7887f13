"""Rows that PostgreSQL rejects, through the commit stage: no other ad of the batch is lost."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ops.errors import ConfigurationError
from ops.outcomes import Batch, CommitResult
from ops.session.ports import SessionPolicy
from ops.types import AdKey
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database
from resources.sessions.commits import call as call_module
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from tests.conftest import connect_args
from tests.support.batches import BACKBONE, RELEASE, put_test_release
from tests.support.session_world import QUICK, Working, World

STREAM = "stream-1"
TABLES = (
    "lalafo.ads, lalafo.photos, lalafo.failures, lalafo.stage_timings, lalafo.outbox, "
    "lalafo.stream_offsets, lalafo.leases"
)


class Rows:
    """A world whose results are written to PostgreSQL, in a release of the world's model."""

    def __init__(self, database: Database, connection: psycopg.Connection) -> None:
        self.database = database
        self.world = World()
        self.world.releases = (self.world.release(RELEASE, BACKBONE),)
        self.epochs = Leases(STREAM, "ads", "run-1", 60).acquire(connection, [0])
        writer = ResultWriter(database, Holder("run-1", STREAM, "ads", "ads.scored"))
        self.poison: Callable[[Any], Any] = lambda ad: ad
        self.batches: list[int] = []
        world_commit = self.world.commit

        def commit(of: Batch, epochs: Mapping[int, int]) -> CommitResult:
            ads = tuple(self.poison(ad) if ad.event.key.ad_id == "poison" else ad for ad in of.ads)
            self.batches.append(len(ads))
            result = writer.commit(replace(of, ads=ads, embeddings=()), self.epochs)
            world_commit(of, epochs)
            return result

        self.world.commit = commit  # type: ignore[method-assign]

    def ads(self) -> set[str]:
        with self.database.cursor() as cursor:
            cursor.execute("SELECT ad_id FROM lalafo.ads")
            return {row[0] for row in cursor.fetchall()}

    def failures(self) -> list[tuple[Any, ...]]:
        with self.database.cursor() as cursor:
            cursor.execute('SELECT kind, reason, "offset", detail FROM lalafo.failures')
            return cursor.fetchall()


@pytest.fixture(scope="module")
def shared(
    postgres: EmbeddedPostgres, make_database: Callable[..., str], migrated_template: str
) -> Iterator[Database]:
    """One database for all tests: a new one takes longer than a test."""
    database = Database(postgres.url(make_database(template=migrated_template)))
    put_test_release(database)
    yield database
    database.close()


@pytest.fixture
def rows(shared: Database) -> Iterator[Rows]:
    with shared.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLES} CASCADE")
    yield from opened(shared)


def opened(database: Database) -> Iterator[Rows]:
    url = connect_args(database.url.render_as_string())
    with psycopg.connect(**url, autocommit=True) as connection:
        yield Rows(database, connection)


def changed_event(**changes: object) -> Callable[[Any], Any]:
    return lambda ad: replace(ad, event=replace(ad.event, **changes))


REJECTED = {
    "NUL in a text": changed_event(title="a\x00b"),
    "half a surrogate pair": changed_event(title="\ud800"),
    "a number too large": changed_event(price=Decimal(10) ** 60),
    "an integer too large": changed_event(revision=2**63),
    "a time out of range": changed_event(
        occurred_at=datetime.max.replace(tzinfo=UTC), title="x", price="not a number"
    ),
    "no text at all": changed_event(title=object()),
    "null": changed_event(title=None),
    "not JSON": lambda ad: replace(
        ad,
        predictions={
            RELEASE: tuple(
                replace(item, details={"top": "\x00"}) for item in ad.predictions[RELEASE]
            )
        },
    ),
    "a score out of range": lambda ad: replace(
        ad,
        predictions={
            RELEASE: tuple(replace(item, score=1e300) for item in ad.predictions[RELEASE])
        },
    ),
    "an index row too large": changed_event(
        key=AdKey("kg", "".join(chr(0x4E00 + n * 7 % 20_000) for n in range(9_000)))
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_a_row_that_postgresql_rejects_fails_alone(rows: Rows, name: str) -> None:
    """Its ad becomes a dead letter with the reason; every other ad of the batch is committed."""
    rows.poison = REJECTED[name]
    world = rows.world
    world.hold("embed")
    for n in range(9):
        world.publish(str(n), f"dark-{n}")
    world.publish("poison", "dark-20")
    for n in range(10, 18):
        world.publish(str(n), f"dark-{n}")
    world.membership.grant(0)
    with Working(world, replace(QUICK, outage_s=5.0)) as working:
        world.until(lambda: "embed" in world.calls)
        world.free("embed")
        world.until(lambda: world.offsets == {0: 18})
    assert rows.ads() == {str(n) for n in range(18) if n != 9}
    (failure,) = rows.failures()
    assert failure[:3] == ("event", "internal_error", 9)
    assert " in " in failure[3]
    assert working.total.unaccounted == 0
    assert len(rows.batches) < 18, "the good ads were not committed one by one"


def sites() -> list[str]:
    """The functions that make the arguments of a commit, as their module names them."""
    return [
        *("photo_row", "scored_event", "_ad_row", "_timing_row"),
        *("_message_row", "_ad_photo_rows", "_prediction_rows", "_photo_failure_rows"),
    ]


@pytest.mark.parametrize("times", [1, 10_000], ids=["once", "always"])
@pytest.mark.parametrize("site", sites())
def test_an_exception_at_any_argument_fails_one_ad(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, site: str, times: int
) -> None:
    """Whatever raises while the poisoned ad is in the transaction: no row is half written."""
    original = getattr(call_module, site)
    left = [times]
    inside = threading.local()
    commit = ResultWriter.commit

    def remember(self: ResultWriter, of: Batch, epochs: Any) -> Any:
        inside.poisoned = any(ad.event.key.ad_id == "poison" for ad in of.ads)
        return commit(self, of, epochs)

    def poisoned(*args: Any, **kwargs: Any) -> Any:
        if getattr(inside, "poisoned", False) and left[0] > 0:
            left[0] -= 1
            raise ZeroDivisionError("injected")
        return original(*args, **kwargs)

    monkeypatch.setattr(ResultWriter, "commit", remember)
    monkeypatch.setattr(call_module, site, poisoned)
    world = rows.world
    for n in range(3):
        world.publish(str(n), f"dark-{n}")
    world.publish("poison", "dark-9")
    world.publish("4", "dark-4")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.offsets == {0: 5})
    assert left[0] < times, "the call was never reached"
    assert rows.ads() >= {"0", "1", "2", "4"}
    letters = [failure for failure in rows.failures() if failure[2] == 3]
    assert ("poison" in rows.ads()) is (letters == [])
    if times > 1:
        assert [letter[:3] for letter in letters] == [("event", "internal_error", 3)]
    assert working.total.unaccounted == 0


@pytest.fixture
def refuse(rows: Rows) -> Iterator[Callable[[str], None]]:
    """Makes a table refuse the rows of the ad "poison"."""
    with rows.database.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION lalafo.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'refused' USING ERRCODE = '22023'; END $$"
        )

    def of(table: str) -> None:
        with rows.database.cursor() as cursor:
            cursor.execute(
                f"CREATE TRIGGER refuse BEFORE INSERT ON lalafo.{table} FOR EACH ROW "
                "WHEN (NEW.ad_id = 'poison') EXECUTE FUNCTION lalafo.refuse()"
            )

    yield of
    with rows.database.cursor() as cursor:
        cursor.execute("DROP FUNCTION lalafo.refuse CASCADE")


@pytest.mark.parametrize("table", ["ads", "ad_photos", "predictions", "stage_timings"])
def test_a_row_that_a_table_refuses_fails_one_ad(
    rows: Rows, refuse: Callable[[str], None], table: str
) -> None:
    """Whichever statement of the commit fails: no row is half written, and the others are."""
    refuse(table)
    world = rows.world
    for n in range(3):
        world.publish(str(n), f"dark-{n}")
    world.publish("poison", "dark-9")
    world.publish("4", "dark-4")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.offsets == {0: 5})
    assert rows.ads() == {"0", "1", "2", "4"}
    assert [failure[:3] for failure in rows.failures()] == [("event", "internal_error", 3)]
    assert working.total.unaccounted == 0


def test_tables_of_another_version_are_no_fault_of_the_ads(database: Database) -> None:
    """A missing column ends the session with what to do, and makes no failure."""
    put_test_release(database)
    (rows,) = opened(database)
    with rows.database.cursor() as cursor:
        cursor.execute("ALTER TABLE lalafo.ads DROP COLUMN currency CASCADE")
    rows.world.publish("1", "dark-1")
    rows.world.membership.grant(0)
    with Working(rows.world, SessionPolicy(poll_timeout_s=0.005)) as working:
        working.until_ended()
    assert isinstance(working.error, ConfigurationError)
    assert "42703" in str(working.error)
    assert rows.failures() == []
