"""The commit: rows and offsets in one transaction, under the epoch; older revisions never win."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg
import pytest

from ops.errors import LeaseLostError, PhotosGoneError, ReleaseChangedError
from ops.outcomes import Batch, CommitResult, StageTimes
from ops.types import AdKey, EventKind
from resources.postgres.database import Database
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from resources.sessions.offsets import read_offsets
from tests.conftest import connect_args
from tests.support.batches import (
    NOON,
    RELEASE,
    batch,
    dead_letter,
    event,
    outcome,
    put_test_release,
    sha,
)
from tests.support.tcp_relay import RoundTrips, tcp_relay

STREAM = "stream-1"
TABLES = (
    *("ads", "photos", "ad_photos", "embeddings", "predictions"),
    *("failures", "stage_timings", "stream_offsets", "outbox"),
)


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    """A session's own connection: its leases are alive while it is open."""
    put_test_release(database)
    url = connect_args(database.url.render_as_string())
    with psycopg.connect(**url, autocommit=True) as opened:
        yield opened


@dataclass
class Writer:
    """A session with the leases of partitions 0 and 1, which commits under their epochs."""

    results: ResultWriter
    epochs: dict[int, int]

    def commit(self, batch: Batch) -> CommitResult:
        return self.results.commit(batch, self.epochs)


@pytest.fixture
def writer(database: Database, connection: psycopg.Connection) -> Writer:
    epochs = Leases(STREAM, "ads", "run-1", 60).acquire(connection, [0, 1])
    assert epochs == {0: 1, 1: 1}
    holder = Holder("run-1", STREAM, "ads", "ads.scored")
    return Writer(ResultWriter(database, holder), epochs)


def rows(database: Database, query: str, *values: object) -> list[tuple]:
    with database.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def contents(database: Database) -> dict[str, list[tuple]]:
    """Every row of every table, without the times at which rows were written."""
    moments = {"updated_at", "created_at", "failed_at", "scored_at", "committed_at"}
    found = {}
    for table in TABLES:
        columns = rows(
            database,
            "SELECT column_name::text FROM information_schema.columns "
            "WHERE table_schema = 'lalafo' AND table_name = %s ORDER BY 1",
            table,
        )
        names = ", ".join(f'"{name}"::text' for (name,) in columns if name not in moments)
        found[table] = sorted(rows(database, f"SELECT {names} FROM lalafo.{table}"), key=str)
    return found


def test_a_batch_becomes_rows_and_offsets(database: Database, writer: Writer) -> None:
    """Ads, photos, failures, predictions and offsets are stored, each with its run."""
    result = writer.commit(
        batch(
            outcome(event("1", photos=2), offset=4),
            outcome(event("2"), offset=7, partition=1),
            letters=(dead_letter(5),),
        )
    )
    assert set(result.accepted) == {AdKey("kg", "1"), AdKey("kg", "2")}
    assert read_offsets(database, STREAM, "ads") == {0: 6, 1: 8}
    found = rows(
        database,
        "SELECT position, sha256 IS NULL, reason FROM lalafo.ad_photos "
        "WHERE ad_id = '1' ORDER BY 1",
    )
    assert found == [(0, False, None), (1, True, "fetch_timeout")]
    found = rows(
        database,
        'SELECT kind, reason, topic, partition, "offset", original FROM lalafo.failures ORDER BY 1',
    )
    assert found == [
        ("event", "event_not_json", "ads", 0, 5, b"nonsense"),
        ("photo", "fetch_timeout", "ads", 0, 4, None),
    ]
    found = rows(
        database, "SELECT ad_id, release, label, run_id FROM lalafo.predictions ORDER BY 1"
    )
    assert found == [("1", RELEASE, "chair", "run-1"), ("2", RELEASE, "chair", "run-1")]


def test_a_replay_changes_no_row(database: Database, writer: Writer) -> None:
    """The same batch again leaves every table as it was."""
    original = batch(
        outcome(event("1", photos=3), offset=0),
        outcome(event("2"), offset=1),
        letters=(dead_letter(2),),
    )
    writer.commit(original)
    before = contents(database)
    again = writer.commit(original)
    assert again.accepted == {}
    assert contents(database) == before


def test_the_higher_revision_wins_whatever_its_offset(database: Database, writer: Writer) -> None:
    """An older revision that arrives later, or an equal one, changes nothing."""
    writer.commit(batch(outcome(event("1", revision=5), offset=0, label="table")))
    before = contents(database)
    for offset, revision in ((1, 4), (2, 5)):
        late = outcome(event("1", revision=revision, photos=3), offset=offset, label="sofa")
        assert writer.commit(batch(late)).accepted == {}
    after = contents(database)
    for table in ("ads", "ad_photos", "predictions", "failures", "stage_timings"):
        assert after[table] == before[table]
    newer = outcome(event("1", revision=6, photos=1), offset=3, label="sofa")
    assert set(writer.commit(batch(newer)).accepted) == {AdKey("kg", "1")}
    assert rows(database, "SELECT label, revision FROM lalafo.predictions") == [("sofa", 6)]


def test_a_delete_leaves_a_tombstone(database: Database, writer: Writer) -> None:
    """Predictions, references and failures are deleted; key, revision and day stay, so that older
    events are still refused."""
    writer.commit(batch(outcome(event("1", photos=2), offset=0)))
    deletion = event("1", revision=2, photos=0, kind=EventKind.DELETED)
    writer.commit(batch(outcome(deletion, offset=1, at=NOON + timedelta(days=3))))
    assert rows(database, "SELECT status, revision, day FROM lalafo.ads") == [
        ("deleted", 2, NOON.date())
    ]
    for table in ("ad_photos", "predictions", "failures"):
        assert rows(database, f"SELECT count(*) FROM lalafo.{table}") == [(0,)]
    assert writer.commit(batch(outcome(event("1"), offset=2))).accepted == {}


def test_an_ad_keeps_its_day(database: Database, writer: Writer) -> None:
    """The day is the first event's, in the ad's row and in its predictions."""
    writer.commit(batch(outcome(event("1"), offset=0)))
    later = outcome(event("1", revision=2), offset=1, at=NOON + timedelta(days=40))
    result = writer.commit(batch(later))
    assert result.accepted == {AdKey("kg", "1"): NOON.date()}
    assert rows(
        database,
        "SELECT a.day, p.day FROM lalafo.ads a JOIN lalafo.predictions p USING (catalog, ad_id)",
    ) == [(NOON.date(),) * 2]


def test_a_lost_lease_commits_nothing(database: Database, writer: Writer) -> None:
    """One lost partition of two: no row, no offset, no announcement, and the error names it."""
    rows_before = contents(database)
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.leases SET epoch = epoch + 1, run_id = 'other' WHERE partition = 1"
        )
    both = batch(outcome(event("1"), offset=0), outcome(event("2"), offset=0, partition=1))
    with pytest.raises(LeaseLostError, match=r"partitions \[1\]") as lost:
        writer.commit(both)
    assert lost.value.partitions == {1}
    assert contents(database) == rows_before
    writer.commit(batch(outcome(event("1"), offset=0)))
    assert read_offsets(database, STREAM, "ads") == {0: 1}


def test_a_lease_that_was_never_there_commits_nothing(database: Database, writer: Writer) -> None:
    """A swept table is a lost lease as well."""
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.leases")
    with pytest.raises(LeaseLostError) as lost:
        writer.commit(batch(outcome(event("1"), offset=0)))
    assert lost.value.partitions == {0}


def test_no_session_acquires_a_partition_during_its_commit(
    database: Database, writer: Writer, connection: psycopg.Connection
) -> None:
    """Between the check of the epoch and the end of the commit, another session waits."""
    url = connect_args(database.url.render_as_string())
    with ThreadPoolExecutor(1) as pool, psycopg.connect(**url) as promoting:
        promoting.execute("SELECT FROM lalafo.active_releases FOR UPDATE")  # the commit waits here
        committing = pool.submit(writer.commit, batch(outcome(event("1"), offset=0)))
        wait_for_lock(database)
        connection.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute("UPDATE lalafo.leases SET epoch = epoch + 1, run_id = 'other'")
        promoting.rollback()
        assert set(committing.result(10).accepted) == {AdKey("kg", "1")}


def wait_for_lock(database: Database) -> None:
    """Wait until a commit waits for a lock."""
    query = (
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND query LIKE %s AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + 90
    while not rows(database, query, "%commit_batch%"):
        assert time.monotonic() < deadline, "no commit waits"


def test_a_batch_for_another_release_set_commits_nothing(
    database: Database, writer: Writer
) -> None:
    """A batch that was computed for a release that is no longer active must be computed again."""
    rows_before = contents(database)
    put_test_release(database, "tiny-000000000002")
    with pytest.raises(ReleaseChangedError, match="tiny-000000000002"):
        writer.commit(batch(outcome(event("1"), offset=0)))
    assert contents(database) == rows_before


def test_offsets_never_move_back(database: Database, writer: Writer) -> None:
    """A replayed batch leaves the committed offset where it is."""
    writer.commit(batch(outcome(event("1"), offset=9)))
    writer.commit(batch(outcome(event("2"), offset=3)))
    assert read_offsets(database, STREAM, "ads") == {0: 10}


def test_each_ad_is_announced_in_the_transaction_of_its_rows(
    database: Database, writer: Writer
) -> None:
    """The outbox has a record for each accepted ad, with its key; the result has the same ones."""
    deletion = event("2", revision=4, photos=0, kind=EventKind.DELETED)
    result = writer.commit(
        batch(outcome(event("1", photos=2), offset=0, label="lamp"), outcome(deletion, offset=1))
    )
    pending = rows(database, "SELECT id, topic, key, value FROM lalafo.outbox ORDER BY id")
    assert pending == [(m.id, m.topic, m.key, m.value) for m in result.messages]
    assert [(topic, key) for _, topic, key, _ in pending] == [
        ("ads.scored", b"kg/1"),
        ("ads.scored", b"kg/2"),
    ]
    scored, deleted = (json.loads(value) for *_, value in pending)
    assert (scored["kind"], scored["revision"], scored["release"]) == ("scored", 1, RELEASE)
    assert scored["predictions"]["category"]["label"] == "lamp"
    photo = sha("https://p.example/1/0.jpg").hex()
    assert scored["photos"] == [{"sha256": photo}, {"reason": "fetch_timeout"}]
    assert (deleted["kind"], deleted["revision"]) == ("deleted", 4)
    assert "predictions" not in deleted


def test_what_changes_nothing_is_not_announced(database: Database, writer: Writer) -> None:
    """A replay or an older revision adds no pending record."""
    original = batch(outcome(event("1", revision=2), offset=0))
    writer.commit(original)
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.outbox")
    assert writer.commit(original).messages == ()
    assert writer.commit(batch(outcome(event("1"), offset=1))).messages == ()
    assert rows(database, "SELECT count(*) FROM lalafo.outbox") == [(0,)]


def test_a_failed_commit_leaves_no_pending_record(database: Database, writer: Writer) -> None:
    """The announcement is part of the transaction."""
    without = replace(batch(outcome(event("1"), offset=0)), renditions=(), embeddings=())
    with pytest.raises(PhotosGoneError):
        writer.commit(without)
    assert rows(database, "SELECT count(*) FROM lalafo.outbox") == [(0,)]


def test_a_deleted_photo_raises_and_nothing_is_written(database: Database, writer: Writer) -> None:
    """It was stored when the ad was loaded, and was swept since: load it, and commit again."""
    url = "https://p.example/1/0.jpg"
    writer.commit(batch(outcome(event("1"), offset=0)))
    again = replace(event("2"), photos=event("1").photos)
    known = replace(batch(outcome(again, offset=1)), renditions=(), embeddings=())
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.ad_photos")
        cursor.execute("DELETE FROM lalafo.photos WHERE sha256 = %s", (sha(url),))
    before = contents(database)
    with pytest.raises(PhotosGoneError, match="photos"):
        writer.commit(known)
    assert contents(database) == before
    assert set(writer.commit(batch(outcome(again, offset=1))).accepted) == {AdKey("kg", "2")}


def test_an_embedding_of_a_deleted_photo_raises_as_well(database: Database, writer: Writer) -> None:
    """A new backbone and a known photo: the batch has only the embedding; the row is deleted."""
    original = batch(outcome(event("1"), offset=0))
    with pytest.raises(PhotosGoneError):
        writer.commit(replace(original, renditions=()))


def test_a_received_ad_takes_its_own_revision_once(database: Database, writer: Writer) -> None:
    """An ad that is requeued for scoring accepts its equal revision once."""
    writer.commit(batch(outcome(event("1", revision=3), offset=0, label="table")))
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.ads SET status = 'received'")
    again = batch(outcome(event("1", revision=3), offset=5, label="lamp"))
    lower = batch(outcome(event("1", revision=2), offset=6, label="shoe"))
    assert writer.commit(lower).accepted == {}
    assert set(writer.commit(again).accepted) == {AdKey("kg", "1")}
    assert writer.commit(again).accepted == {}
    assert rows(database, "SELECT label FROM lalafo.predictions") == [("lamp",)]
    assert rows(database, "SELECT status FROM lalafo.ads") == [("scored",)]


def orphaned(database: Database) -> set[bytes]:
    return {row[0] for row in rows(database, "SELECT sha256 FROM lalafo.orphaned_photos")}


def test_photos_that_an_update_orphans_are_recorded(database: Database, writer: Writer) -> None:
    """Photos that it keeps or adds are not orphaned; a deletion orphans all of them."""
    url = "https://p.example/1/{}.jpg"
    first = event("1", photos=1)
    old, new = first.photos[0], replace(first.photos[0], url="https://p.example/new.jpg")
    writer.commit(batch(outcome(first, offset=0), outcome(event("2"), offset=1)))
    assert orphaned(database) == set()
    writer.commit(batch(outcome(replace(event("1", 2), photos=(old,)), offset=2)))
    assert orphaned(database) == set()
    writer.commit(batch(outcome(replace(event("1", 3), photos=(new,)), offset=3)))
    assert orphaned(database) == {sha(url.format(0))}
    deletion = event("1", revision=4, photos=0, kind=EventKind.DELETED)
    writer.commit(batch(outcome(deletion, offset=4)))
    assert orphaned(database) == {sha(url.format(0)), sha("https://p.example/new.jpg")}


def test_a_photo_without_any_reference_is_recorded(database: Database, writer: Writer) -> None:
    """Its ad was superseded by a higher revision: the row exists, and upkeep must find it."""
    writer.commit(batch(outcome(event("1", revision=9, photos=0), offset=0)))
    late = event("1", revision=2, photos=1)
    assert writer.commit(batch(outcome(late, offset=1))).accepted == {}
    assert orphaned(database) == {sha("https://p.example/1/0.jpg")}


def test_an_ads_stage_times_are_its_own(database: Database, writer: Writer) -> None:
    """The milliseconds of each stage are stored by ad; the commit time is not known yet."""
    times = {"1": StageTimes(1, 2, 3, 4, 5), "2": StageTimes(10, 20, 30, 40, 50)}
    ads = [
        replace(outcome(event(name), offset=n), times=of)
        for n, (name, of) in enumerate(times.items())
    ]
    writer.commit(batch(*ads))
    found = rows(
        database,
        "SELECT ad_id, fetch_ms, photos_ms, queued_ms, embed_ms, predict_ms, day, committed_at "
        "FROM lalafo.stage_timings ORDER BY 1",
    )
    assert found == [
        ("1", 1, 2, 3, 4, 5, NOON.date(), None),
        ("2", 10, 20, 30, 40, 50, NOON.date(), None),
    ]


def test_two_sessions_that_share_photos_do_not_deadlock(
    database: Database, connection: psycopg.Connection
) -> None:
    """Each commits its own partition's ads, with the same photos in opposite order."""
    leases = Leases(STREAM, "ads", "run-1", 60)
    epochs = leases.acquire(connection, [0, 1])
    refs = [event(str(n)).photos[0] for n in range(20)]

    def work(partition: int) -> int:
        writer = ResultWriter(database, Holder("run-1", STREAM, "ads", "ads.scored"))
        written = 0
        for n in range(15):
            photos = tuple(refs if partition == 0 else reversed(refs))
            of = replace(event(f"{partition}-{n}"), photos=photos)
            original = outcome(of, offset=n, partition=partition)
            written += len(writer.commit(batch(original), {partition: epochs[partition]}).accepted)
        return written

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, [0, 1])) == [15, 15]
    # `outcome` fails the second photo of every ad: each order leaves out another one.
    assert rows(database, "SELECT count(*) FROM lalafo.photos") == [(20,)]


def test_photos_that_ads_share_are_written_once(database: Database, writer: Writer) -> None:
    """The same photo in two ads is one photo with one embedding."""
    first = event("1")
    second = replace(event("2"), photos=first.photos)
    writer.commit(batch(outcome(first, offset=0), outcome(second, offset=1)))
    assert rows(database, "SELECT count(*) FROM lalafo.photos") == [(1,)]
    assert rows(database, "SELECT count(*) FROM lalafo.embeddings") == [(1,)]
    assert rows(database, "SELECT count(*) FROM lalafo.ad_photos") == [(2,)]


@pytest.mark.parametrize("revisions", [1, 2], ids=["new ads", "a later revision"])
def test_a_commit_is_one_statement_and_one_round_trip(
    database: Database, connection: psycopg.Connection, revisions: int
) -> None:
    """So a session that freezes holds no lock: PostgreSQL ends what it has got in any case."""
    epochs = Leases(STREAM, "ads", "run-1", 60).acquire(connection, [0, 1])
    where, trips = database.conninfo.parameters, RoundTrips()
    with tcp_relay(f"{where['host']}/.s.PGSQL.{where['port']}", passed=trips) as port:
        relayed = Database(f"postgresql://{where['user']}@127.0.0.1:{port}/{where['dbname']}")
        writer = Writer(ResultWriter(relayed, Holder("run-1", STREAM, "ads", "ads.scored")), epochs)
        for number in range(8):  # statements are prepared after a few executions
            for revision in range(1, revisions + 1):
                ads = [event(f"{number}-{n}", revision, photos=3) for n in range(4)]
                offset, before = number * 2 + revision, trips.count
                result = writer.commit(batch(*(outcome(ad, offset=offset) for ad in ads)))
                assert len(result.accepted) == len(result.messages) == 4
        assert trips.count - before == 1
        relayed.close()
