"""The commit: rows and offsets together, under the epoch, and never older than what is held."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ops.errors import LeaseLostError, ReleaseChangedError
from ops.types import AdKey, EventKind
from resources.database import Database
from resources.leases import PartitionLeases, read_offsets
from resources.results import Holder, ResultWriter
from tests.batches import NOON, RELEASE, batch, dead_letter, event, outcome, put_test_release

STREAM = "stream-1"
TABLES = (
    *("ads", "photos", "ad_photos", "embeddings", "predictions"),
    *("failures", "stage_timings", "stream_offsets"),
)


@pytest.fixture
def leases(database: Database):
    put_test_release(database)
    with PartitionLeases(
        database, stream_id=STREAM, topic="ads", partitions=[0, 1], run_id="run-1", ttl_s=60
    ) as held:
        yield held


@pytest.fixture
def writer(database: Database, leases: PartitionLeases) -> ResultWriter:
    return ResultWriter(database, Holder("run-1", STREAM, "ads", leases.epochs))


def rows(database: Database, query: str, *values: object) -> list[tuple]:
    with database.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def contents(database: Database) -> dict[str, list[tuple]]:
    """Every row of every table, without the moments at which rows were written."""
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


def test_a_batch_becomes_rows_and_offsets(database: Database, writer: ResultWriter) -> None:
    """Ads, photos, failures, predictions and offsets are there, each naming its run."""
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


def test_a_replay_changes_no_row(database: Database, writer: ResultWriter) -> None:
    """The same batch again leaves every table as it was."""
    made = batch(
        outcome(event("1", photos=3), offset=0),
        outcome(event("2"), offset=1),
        letters=(dead_letter(2),),
    )
    writer.commit(made)
    before = contents(database)
    again = writer.commit(made)
    assert again.accepted == {}
    assert contents(database) == before


def test_the_higher_revision_wins_whatever_its_offset(
    database: Database, writer: ResultWriter
) -> None:
    """An older revision that comes later, or an equal one, changes nothing."""
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


def test_a_delete_leaves_a_tombstone(database: Database, writer: ResultWriter) -> None:
    """Predictions, references and failures go; key, revision and day stay, and hold older ones."""
    writer.commit(batch(outcome(event("1", photos=2), offset=0)))
    gone = event("1", revision=2, photos=0, kind=EventKind.DELETED)
    writer.commit(batch(outcome(gone, offset=1, at=NOON + timedelta(days=3))))
    assert rows(database, "SELECT status, revision, day FROM lalafo.ads") == [
        ("deleted", 2, NOON.date())
    ]
    for table in ("ad_photos", "predictions", "failures"):
        assert rows(database, f"SELECT count(*) FROM lalafo.{table}") == [(0,)]
    assert writer.commit(batch(outcome(event("1"), offset=2))).accepted == {}


def test_an_ad_keeps_its_day(database: Database, writer: ResultWriter) -> None:
    """The day is that of the first event, in the ad's row and in its predictions."""
    writer.commit(batch(outcome(event("1"), offset=0)))
    later = outcome(event("1", revision=2), offset=1, at=NOON + timedelta(days=40))
    result = writer.commit(batch(later))
    assert result.accepted == {AdKey("kg", "1"): NOON.date()}
    assert rows(
        database,
        "SELECT a.day, p.day FROM lalafo.ads a JOIN lalafo.predictions p USING (catalog, ad_id)",
    ) == [(NOON.date(),) * 2]


def test_a_lost_lease_commits_nothing(database: Database, writer: ResultWriter) -> None:
    """A holder whose partition another took over writes no row and moves no offset."""
    rows_before = contents(database)
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.leases SET epoch = epoch + 1, run_id = 'other' WHERE partition = 1"
        )
    with pytest.raises(LeaseLostError, match="partition 1"):
        writer.commit(
            batch(outcome(event("1"), offset=0), outcome(event("2"), offset=0, partition=1))
        )
    assert contents(database) == rows_before


def test_a_batch_for_another_release_set_commits_nothing(
    database: Database, writer: ResultWriter
) -> None:
    """What was computed for a release that is no longer in force must be computed again."""
    rows_before = contents(database)
    put_test_release(database, "tiny-000000000002")
    with pytest.raises(ReleaseChangedError, match="tiny-000000000002"):
        writer.commit(batch(outcome(event("1"), offset=0)))
    assert contents(database) == rows_before


def test_offsets_never_move_back(database: Database, writer: ResultWriter) -> None:
    """A replayed batch leaves the committed offset where it is."""
    writer.commit(batch(outcome(event("1"), offset=9)))
    writer.commit(batch(outcome(event("2"), offset=3)))
    assert read_offsets(database, STREAM, "ads") == {0: 10}


def test_commit_times_follow_with_the_next_commit_or_at_rest(
    database: Database, writer: ResultWriter
) -> None:
    """Each ad's row says when its own commit was seen, after the fact."""
    query = "SELECT ad_id, committed_at IS NOT NULL FROM lalafo.stage_timings ORDER BY 1"
    writer.commit(batch(outcome(event("1"), offset=0)))
    assert rows(database, query) == [("1", False)]
    writer.commit(batch(outcome(event("2"), offset=1)))
    assert rows(database, query) == [("1", True), ("2", False)]
    writer.flush()
    assert rows(database, query) == [("1", True), ("2", True)]


def test_photos_that_ads_share_are_written_once(database: Database, writer: ResultWriter) -> None:
    """The same photo in two ads is one photo with one embedding."""
    first = event("1")
    second = replace(event("2"), photos=first.photos)
    writer.commit(batch(outcome(first, offset=0), outcome(second, offset=1)))
    assert rows(database, "SELECT count(*) FROM lalafo.photos") == [(1,)]
    assert rows(database, "SELECT count(*) FROM lalafo.embeddings") == [(1,)]
    assert rows(database, "SELECT count(*) FROM lalafo.ad_photos") == [(2,)]
