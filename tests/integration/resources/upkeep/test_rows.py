"""Old rows are deleted; rows of current state are not."""

import json
import os
import time
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.upkeep import rows
from resources.upkeep.rows import delete_old_rows, delete_old_uploads
from tests.integration.resources.upkeep.test_requeue import write
from tests.support.batches import event

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


def test_timings_are_deleted_by_their_own_age(database: Database) -> None:
    """A new revision of an old ad has the day of the first one, but recent timings."""
    add_timing(database, "old", timedelta(days=15), timedelta(days=15))
    add_timing(database, "old ad", timedelta(days=300), timedelta(days=1))
    add_timing(database, "recent", timedelta(days=13), timedelta(days=13))
    add_timing(database, "at the edge", timedelta(days=14), timedelta(days=14, minutes=1))
    assert delete_old_rows(database, SETTINGS)["stage_timings"] == 2
    assert names(database, "SELECT ad_id FROM lalafo.stage_timings") == {"old ad", "recent"}
    assert delete_old_rows(database, SETTINGS)["stage_timings"] == 0


def test_old_dead_letters_are_deleted_and_photo_failures_stay(database: Database) -> None:
    """Replayed or not; but a photo's failure stays as long as its ad, however old."""
    for kind in ("event", "stream", "photo"):
        add_failure(database, kind, f"{kind} old", timedelta(days=91))
        add_failure(database, kind, f"{kind} recent", timedelta(days=89))
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.failures SET replayed_at = now() WHERE kind = 'stream'")
    assert delete_old_rows(database, SETTINGS)["failures"] == 2
    assert names(database, "SELECT subject FROM lalafo.failures") == {
        *("event recent", "stream recent", "photo recent", "photo old"),
    }


def test_sessions_that_ended_a_day_ago_are_deleted(database: Database) -> None:
    """Leases stay: there is one per partition, which is reused."""
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


def test_rows_are_deleted_in_chunks_and_locked_rows_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction deletes more than a chunk; a call stops after CHUNKS, the next continues."""
    monkeypatch.setattr(rows, "CHUNK_ROWS", 10)
    monkeypatch.setattr(rows, "CHUNKS", 3)
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


def accept(database: Database, ad_id: str, revision: int, age: timedelta, *shas: bytes) -> None:
    """Insert an event that the gateway accepted so long ago."""
    photos = [{"sha256": sha.hex()} for sha in shas]
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.accepted_ads (catalog, ad_id, revision, event, digest, "
            "accepted_by, accepted_at) VALUES ('kg', %s, %s, %s, '', 'k', now() - %s)",
            (ad_id, revision, json.dumps({"photos": photos}), age),
        )


def test_accepted_rows_are_deleted_once_the_ad_has_the_revision(database: Database) -> None:
    """After a day, and never while the event may still be waiting in the topic."""
    for ad_id in ("scored", "recent", "newer"):
        write(database, event(ad_id, revision=5, photos=0), "scored", [])
    day = timedelta(hours=25)
    accept(database, "scored", 5, day)
    accept(database, "recent", 5, timedelta(hours=23))
    accept(database, "newer", 6, day)
    accept(database, "never seen", 1, day * 100)
    assert delete_old_rows(database, SETTINGS)["accepted_ads"] == 1
    left = names(database, "SELECT ad_id FROM lalafo.accepted_ads")
    assert left == {"recent", "newer", "never seen"}


def test_idempotency_keys_and_minutes_are_deleted_by_age(database: Database) -> None:
    """Answers after a day, minutes with the timings; API keys stay, however old."""
    with database.cursor() as cursor:
        for name, hours in (("old", 25), ("recent", 23)):
            cursor.execute(
                "INSERT INTO lalafo.idempotency_keys VALUES "
                "('k', %s, '', '{}', now() - make_interval(hours => %s))",
                (name, hours),
            )
        for name, days in (("old", 15), ("recent", 13)):
            cursor.execute(
                "INSERT INTO lalafo.stream_minutes VALUES (now() - make_interval(days => %s), %s, "
                "1, 1, '{}', '{}', '{}', '{}')",
                (days, name),
            )
        cursor.execute(
            "INSERT INTO lalafo.api_keys VALUES ('k', 'n', '', '{read}', NULL, 1, "
            "now() - interval '9 years', now() - interval '8 years')"
        )
    deleted = delete_old_rows(database, SETTINGS)
    assert (deleted["idempotency_keys"], deleted["stream_minutes"]) == (1, 1)
    assert names(database, "SELECT idempotency_key FROM lalafo.idempotency_keys") == {"recent"}
    assert names(database, "SELECT run_id FROM lalafo.stream_minutes") == {"recent"}
    assert count(database, "api_keys") == 1


def upload(database: Database, store: PhotoStore, data: bytes, age: timedelta) -> bytes:
    """Store an upload of so long ago; its SHA-256."""
    name = sha256(data).digest()
    store.put("uploads", name, data)
    then = time.time() - age.total_seconds()
    os.utime(urlsplit(store.url("uploads", name)).path, (then, then))
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.uploads VALUES (%s, %s, 'k', now() - %s)", (name, len(data), age)
        )
    return name


def make_photo(database: Database, name: bytes) -> None:
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.photos (sha256, rendition_sha256, rendition_bytes, width, height, "
            "source_format, source_width, source_height, source_bytes, run_id) "
            "VALUES (%s, %s, 1, 1, 1, 'jpeg', 1, 1, 1, 'r')",
            (name, name),
        )


def test_uploads_are_deleted_once_their_photos_are_stored(
    database: Database, tmp_path: Path
) -> None:
    """After an hour; those without a photo after a month, unless a pending ad refers to them. The
    object is deleted with the row; one that was put again meanwhile stays, with its row."""
    store = PhotoStore(str(tmp_path), fsync=False)
    hours, month = timedelta(hours=2), timedelta(days=31)
    stored = upload(database, store, b"stored", hours)
    fresh = upload(database, store, b"stored just now", timedelta(minutes=50))
    unused = upload(database, store, b"unused", month)
    waits = upload(database, store, b"waits", hours)
    pending = upload(database, store, b"pending", month)
    again = upload(database, store, b"put again", hours)
    for name in (stored, fresh, again):
        make_photo(database, name)
    store.put("uploads", again, b"put again")
    accept(database, "pending", 1, timedelta(days=2), pending)
    accept(database, "scored", 1, timedelta(days=2), unused)
    write(database, event("scored", revision=1, photos=0), "scored", [])
    assert delete_old_uploads(database, store, SETTINGS) == 2
    with database.cursor() as cursor:
        cursor.execute("SELECT sha256 FROM lalafo.uploads")
        assert {name for (name,) in cursor.fetchall()} == {fresh, waits, pending, again}
    stored_objects = {
        n for n in (stored, fresh, unused, waits, pending, again) if store.exists("uploads", n)
    }
    assert stored_objects == {fresh, waits, pending, again}
    assert delete_old_uploads(database, store, SETTINGS) == 0


def test_uploads_are_deleted_in_chunks(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads that are kept do not block those after them."""
    monkeypatch.setattr(rows, "UPLOAD_CHUNK_ROWS", 2)
    store = PhotoStore(str(tmp_path), fsync=False)
    for number in range(7):
        name = upload(database, store, b"%d" % number, timedelta(hours=2))
        make_photo(database, name)
        if number < 3:
            store.put("uploads", name, b"%d" % number)  # renewed
    assert delete_old_uploads(database, store, SETTINGS) == 4
    assert count(database, "uploads") == 3
