"""Unreferenced photos are deleted with their objects; photos referred to again are not."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest

from ops.errors import RetryableError
from resources.postgres.database import Database
from resources.storage.photos import Kind, PhotoStore
from resources.upkeep.photos import PhotoSweep, sweep_photos
from tests.conftest import connect_args


def digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


@pytest.fixture
def store(tmp_path: Path) -> PhotoStore:
    return PhotoStore(str(tmp_path), fsync=False)


def add_photo(
    database: Database,
    store: PhotoStore,
    name: str,
    *,
    rendition: str = "",
    orphaned: timedelta | None = timedelta(hours=2),
) -> bytes:
    """A photo with its rendition, thumbnail and embedding; its SHA-256."""
    photo, picture, thumbnail = digest(name), rendition or f"rendition of {name}", f"small {name}"
    store.put("renditions", digest(picture), picture.encode())
    store.put("thumbnails", digest(thumbnail), thumbnail.encode())
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.photos (sha256, rendition_sha256, thumbnail_sha256, "
            "rendition_bytes, width, height, source_format, source_width, source_height, "
            "source_bytes, run_id) VALUES (%s, %s, %s, 1, 1, 1, 'jpeg', 1, 1, 1, '')",
            (photo, digest(picture), digest(thumbnail)),
        )
        cursor.execute(
            "INSERT INTO lalafo.embeddings (backbone, sha256, embedding, release, run_id) "
            "VALUES ('b', %s, '[1,0]', 'r', '')",
            (photo,),
        )
        if orphaned is not None:
            cursor.execute(
                "INSERT INTO lalafo.orphaned_photos VALUES (%s, now() - %s)", (photo, orphaned)
            )
    return photo


def refer(cursor: psycopg.Cursor, photo: bytes, ad_id: str = "1") -> None:
    cursor.execute(
        "INSERT INTO lalafo.ad_photos (catalog, ad_id, position, sha256, revision, run_id) "
        "VALUES ('kg', %s, 0, %s, 1, '')",
        (ad_id, photo),
    )


def column(database: Database, query: str) -> list[object]:
    with database.cursor() as cursor:
        cursor.execute(query)
        return [value for (value,) in cursor.fetchall()]


def photos(database: Database) -> set[object]:
    return set(column(database, "SELECT sha256 FROM lalafo.photos"))


def sweep(database: Database, store: PhotoStore, **changes: int) -> PhotoSweep:
    """Sweep records older than an hour, whatever the objects' age: that has its own test."""
    with pytest.MonkeyPatch.context() as patch:
        real = store.delete
        patch.setattr(store, "delete", lambda kind, name, **_: real(kind, name))
        return sweep_photos(database, store, orphaned_s=3600, **changes)


def test_an_unreferenced_photo_is_deleted_with_its_objects(
    database: Database, store: PhotoStore, tmp_path: Path
) -> None:
    """Row, embeddings, record, rendition, thumbnail; recent, used and unrecorded photos stay."""
    add_photo(database, store, "unused")
    recent = add_photo(database, store, "recent", orphaned=timedelta(minutes=59))
    used = add_photo(database, store, "used")
    unrecorded = add_photo(database, store, "unrecorded", orphaned=None)
    with database.cursor() as cursor:
        refer(cursor, used)
    result = sweep(database, store)
    assert result == PhotoSweep(looked_at=2, still_used=1, removed=1, put_again=0, objects=2)
    assert photos(database) == {recent, used, unrecorded}
    assert set(column(database, "SELECT sha256 FROM lalafo.embeddings")) == {
        recent,
        used,
        unrecorded,
    }
    assert column(database, "SELECT sha256 FROM lalafo.orphaned_photos") == [recent]
    for name, there in (
        ("unused", False),
        ("used", True),
        ("recent", True),
        ("unrecorded", True),
    ):
        assert store.exists("renditions", digest(f"rendition of {name}")) is there
        assert store.exists("thumbnails", digest(f"small {name}")) is there
    assert sweep(database, store) == PhotoSweep()


def test_objects_that_another_photo_shares_stay(database: Database, store: PhotoStore) -> None:
    """The same picture under other metadata: the rendition is deleted with its last photo."""
    add_photo(database, store, "one", rendition="shared")
    two = add_photo(database, store, "two", rendition="shared", orphaned=None)
    assert sweep(database, store).removed == 1
    assert store.exists("renditions", digest("shared"))
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.orphaned_photos VALUES (%s, now() - interval '1 day')", (two,)
        )
    assert sweep(database, store).removed == 1
    assert not store.exists("renditions", digest("shared"))


def test_two_unused_photos_with_a_shared_rendition_are_both_deleted(
    database: Database, store: PhotoStore, tmp_path: Path
) -> None:
    """Neither keeps the other."""
    add_photo(database, store, "one", rendition="shared")
    add_photo(database, store, "two", rendition="shared")
    assert sweep(database, store).removed == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_rendition_that_was_put_again_keeps_its_photo(
    database: Database, store: PhotoStore
) -> None:
    """Another process put it for a photo whose row is not visible yet: left to the next sweep."""
    photo = add_photo(database, store, "one", rendition="shared")
    result = sweep_photos(database, store, orphaned_s=3600)  # it was put just now
    assert (result.removed, result.put_again) == (0, 1)
    assert photos(database) == {photo}
    assert store.exists("renditions", digest("shared"))
    assert store.exists("thumbnails", digest("small one"))


def test_photos_are_deleted_chunk_by_chunk(
    database: Database, store: PhotoStore, tmp_path: Path
) -> None:
    """In several transactions; a call stops after `chunks`, and the next continues."""
    for number in range(25):
        add_photo(database, store, str(number))
    used = digest("3")
    with database.cursor() as cursor:
        refer(cursor, used)
    assert sweep(database, store, chunk=4, chunks=2).looked_at == 8
    result = sweep(database, store, chunk=4)
    assert result.looked_at == 17
    assert photos(database) == {used}
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


# Races --------------------------------------------------------------------------------------------


class PausedStore:
    """A store whose deletions wait for `resume`, while the sweep holds its locks."""

    def __init__(self, store: PhotoStore) -> None:
        self.store = store
        self.reached, self.resume = threading.Event(), threading.Event()

    def delete(self, kind: Kind, name: bytes, **_: float) -> bool:
        self.reached.set()
        assert self.resume.wait(20)
        return self.store.delete(kind, name)


def wait_for_a_lock(database: Database) -> None:
    """Wait until a connection waits for another's lock."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if column(
            database,
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database()",
        ):
            return
        time.sleep(0.02)
    pytest.fail("no connection waits for a lock")


def test_a_reference_that_comes_first_keeps_the_photo(
    database: Database, store: PhotoStore
) -> None:
    """An uncommitted reference locks the row: the sweep skips it, later removes its record."""
    photo = add_photo(database, store, "one")
    other = add_photo(database, store, "two")
    with psycopg.connect(**connect_args(database.url.render_as_string())) as session:
        refer(session.cursor(), photo)
        assert sweep(database, store).removed == 1  # at once, without waiting
        assert photos(database) == {photo}
        session.commit()
    assert sweep(database, store) == PhotoSweep(looked_at=1, still_used=1)
    assert photos(database) == {photo} and other not in photos(database)
    assert column(database, "SELECT count(*) FROM lalafo.orphaned_photos") == [0]
    assert store.exists("renditions", digest("rendition of one"))


def test_a_reference_that_waits_for_the_sweep_violates_the_foreign_key(
    database: Database, store: PhotoStore
) -> None:
    """It waits for the sweep's commit, then fails: no reference dangles."""
    photo = add_photo(database, store, "one")
    paused = PausedStore(store)
    with (
        ThreadPoolExecutor(2) as pool,
        psycopg.connect(**connect_args(database.url.render_as_string())) as session,
    ):
        swept = pool.submit(sweep_photos, database, paused, orphaned_s=3600)  # type: ignore[arg-type]
        assert paused.reached.wait(10)
        referred = pool.submit(refer, session.cursor(), photo)
        wait_for_a_lock(database)
        assert not referred.done()
        paused.resume.set()
        assert swept.result(10).removed == 1
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            referred.result(10)
        session.rollback()
    assert photos(database) == set()
    # The session then finds no row, and stores the object again.
    add_photo(database, store, "one", orphaned=None)
    with database.cursor() as cursor:
        refer(cursor, photo)
    assert store.exists("renditions", digest("rendition of one"))


def test_a_waiting_reference_succeeds_if_the_sweep_deletes_nothing(
    database: Database, store: PhotoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is unavailable: photo and record stay, and the waiting reference succeeds."""
    photo = add_photo(database, store, "one")
    reached, resume = threading.Event(), threading.Event()

    def unavailable(*_: object, **__: object) -> bool:
        reached.set()
        assert resume.wait(20)
        raise RetryableError("the store is unavailable")

    monkeypatch.setattr(store, "delete", unavailable)
    with (
        ThreadPoolExecutor(2) as pool,
        psycopg.connect(**connect_args(database.url.render_as_string())) as session,
    ):
        swept = pool.submit(sweep_photos, database, store, orphaned_s=3600)
        assert reached.wait(10)
        referred = pool.submit(refer, session.cursor(), photo)
        wait_for_a_lock(database)
        resume.set()
        with pytest.raises(RetryableError, match="store is unavailable"):
            swept.result(10)
        referred.result(10)
        session.commit()
    monkeypatch.undo()
    assert photos(database) == {photo}
    assert sweep(database, store).still_used == 1


def test_photos_deleted_before_a_failure_have_no_row(
    database: Database, store: PhotoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two objects can't be deleted: its photo stays complete, the other is deleted."""
    add_photo(database, store, "one")
    stays = add_photo(database, store, "two")
    real = store.delete

    def delete(kind: Kind, name: bytes, **_: float) -> bool:
        if name == digest("rendition of two"):
            raise RetryableError("the store is unavailable")
        return real(kind, name)

    monkeypatch.setattr(store, "delete", delete)
    with pytest.raises(RetryableError):
        sweep_photos(database, store, orphaned_s=3600)
    assert photos(database) == {stays}
    assert store.exists("thumbnails", digest("small two"))
    assert not store.exists("renditions", digest("rendition of one"))


def test_a_second_sweep_does_nothing_while_the_first_runs(
    database: Database, store: PhotoStore
) -> None:
    """With two at once, each could rely on the other's photo to keep a shared rendition."""
    add_photo(database, store, "one")
    paused = PausedStore(store)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sweep_photos, database, paused, orphaned_s=3600)  # type: ignore[arg-type]
        assert paused.reached.wait(10)
        assert sweep(database, store) == PhotoSweep()
        paused.resume.set()
        assert first.result(10).removed == 1


def test_a_session_that_orphans_one_photo_and_refers_to_another_does_not_deadlock(
    database: Database, store: PhotoStore
) -> None:
    """It locks one photo's record and waits for the other's row; the sweep waits for neither."""
    orphaned, referred_to = add_photo(database, store, "one"), add_photo(database, store, "two")
    paused = PausedStore(store)
    with (
        ThreadPoolExecutor(2) as pool,
        psycopg.connect(**connect_args(database.url.render_as_string())) as session,
    ):
        session.execute(
            "UPDATE lalafo.orphaned_photos SET since = now() WHERE sha256 = %s", (orphaned,)
        )
        swept = pool.submit(sweep_photos, database, paused, orphaned_s=3600)  # type: ignore[arg-type]
        assert paused.reached.wait(10)
        referred = pool.submit(refer, session.cursor(), referred_to)
        wait_for_a_lock(database)
        paused.resume.set()
        assert swept.result(10).removed == 1
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            referred.result(10)
    assert photos(database) == {orphaned}
