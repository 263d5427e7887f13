"""Rows that are old are deleted, rows that say how things stand are not."""

from datetime import timedelta

import pytest

from resources import upkeep
from resources.database import Database
from resources.settings import Settings
from resources.upkeep import delete_old_rows

SETTINGS = Settings(keep_timings_days=14, keep_failures_days=90)


def count(database: Database, table: str) -> int:
    with database.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM lalafo.{table}")
        return int(cursor.fetchall()[0][0])


def names(database: Database, query: str) -> set[str]:
    with database.cursor() as cursor:
        cursor.execute(query)
        return {name for (name,) in cursor.fetchall()}


def add_timing(database: Database, ad_id: str, day: timedelta, polled: timedelta) -> None:
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.stage_timings (catalog, ad_id, revision, day, run_id, kafka_at, "
            "polled_at, photos_ms, embed_ms, predict_ms) VALUES ('kg', %s, 1, "
            "((now() - %s) AT TIME ZONE 'UTC')::date, 'r', now() - %s, now() - %s, 0, 0, 0)",
            (ad_id, day, polled, polled),
        )


def add_failure(database: Database, kind: str, subject: str, age: timedelta) -> None:
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, stream_id, topic, "
            "partition, \"offset\", run_id, failed_at) VALUES (%s, %s, 'x', '', "
            "((now() - %s) AT TIME ZONE 'UTC')::date, 's', 'ads', 0, 0, 'r', now() - %s)",
            (kind, subject, age, age),
        )


def test_old_timings_go_by_when_they_were_taken(database: Database) -> None:
    """An old ad's new revision belongs to its first day, and its timings are young all the same."""
    add_timing(database, "old", timedelta(days=15), timedelta(days=15))
    add_timing(database, "old ad", timedelta(days=300), timedelta(days=1))
    add_timing(database, "young", timedelta(days=13), timedelta(days=13))
    add_timing(database, "at the edge", timedelta(days=14), timedelta(days=14, minutes=1))
    assert delete_old_rows(database, SETTINGS)["stage_timings"] == 2
    assert names(database, "SELECT ad_id FROM lalafo.stage_timings") == {"old ad", "young"}
    assert delete_old_rows(database, SETTINGS)["stage_timings"] == 0


def test_old_dead_letters_go_and_photos_failures_stay(database: Database) -> None:
    """Replayed or not; but the reason that an ad shows goes with the ad, however old."""
    for kind in ("event", "stream", "photo"):
        add_failure(database, kind, f"{kind} old", timedelta(days=91))
        add_failure(database, kind, f"{kind} young", timedelta(days=89))
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.failures SET replayed_at = now() WHERE kind = 'stream'")
    assert delete_old_rows(database, SETTINGS)["failures"] == 2
    assert names(database, "SELECT subject FROM lalafo.failures") == {
        *("event young", "stream young", "photo young", "photo old"),
    }


def test_sessions_that_ended_a_day_ago_go(database: Database) -> None:
    """Leases are left: one a partition, taken over and over."""
    with database.cursor() as cursor:
        for run_id, ago in (("ended", "25 hours"), ("of today", "23 hours"), ("alive", "-2 s")):
            cursor.execute(
                "INSERT INTO lalafo.sessions (run_id, stream_id, topic, state, code_version, "
                "host, pid, metrics_url, backend_pid, backend_start, due_at, expires_at) VALUES "
                "(%s, 's', 'ads', 'ready', '', '', 0, '', 0, now(), now(), now() - %s::interval)",
                (run_id, ago),
            )
        cursor.execute(
            "INSERT INTO lalafo.leases (stream_id, topic, partition, epoch, run_id, backend_pid, "
            "backend_start, expires_at) VALUES ('s', 'ads', 0, 1, 'ended', 0, now(), "
            "now() - interval '1 year')"
        )
    assert delete_old_rows(database, SETTINGS)["sessions"] == 1
    assert names(database, "SELECT run_id FROM lalafo.sessions") == {"of today", "alive"}
    assert count(database, "leases") == 1


def test_many_go_in_chunks_and_locked_rows_next_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction deletes more than a chunk; a call stops after so many, the next goes on."""
    monkeypatch.setattr(upkeep, "CHUNK_ROWS", 10)
    monkeypatch.setattr(upkeep, "CHUNKS", 3)
    for number in range(45):
        add_failure(database, "event", str(number), timedelta(days=100))
    assert delete_old_rows(database, SETTINGS)["failures"] == 30
    with database.cursor() as writer:
        writer.execute(
            "SELECT FROM lalafo.failures WHERE subject = "
            "(SELECT min(subject) FROM lalafo.failures) FOR UPDATE"
        )
        assert delete_old_rows(database, SETTINGS)["failures"] == 14
    assert delete_old_rows(database, SETTINGS)["failures"] == 1
