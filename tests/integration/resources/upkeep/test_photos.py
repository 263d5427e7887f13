"""Photos that nobody refers to go with their objects; one that is taken up again never does."""

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
    let_go: timedelta | None = timedelta(hours=2),
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
        if let_go is not None:
            cursor.execute(
                "INSERT INTO lalafo.orphaned_photos VALUES (%s, now() - %s)", (photo, let_go)
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
    """An hour has passed for notes; the objects' own age is another test's."""
    with pytest.MonkeyPatch.context() as patch:
        real = store.delete
        patch.setattr(store, "delete", lambda kind, name, **_: real(kind, name))
        return sweep_photos(database, store, orphaned_s=3600, **changes)


def test_what_nobody_refers_to_goes_with_everything_of_it(
    database: Database, store: PhotoStore, tmp_path: Path
) -> None:
    """Row, embeddings, note, rendition and thumbnail; the young, the used and the unnoted stay."""
    add_photo(database, store, "gone")
    young = add_photo(database, store, "young", let_go=timedelta(minutes=59))
    used = add_photo(database, store, "used")
    unnoted = add_photo(database, store, "unnoted", let_go=None)
    with database.cursor() as cursor:
        refer(cursor, used)
    message = sweep(database, store)
    assert message == PhotoSweep(looked_at=2, still_used=1, removed=1, put_again=0, objects=2)
    assert photos(database) == {young, used, unnoted}
    assert set(column(database, "SELECT sha256 FROM lalafo.embeddings")) == {young, used, unnoted}
    assert column(database, "SELECT sha256 FROM lalafo.orphaned_photos") == [young]
    for name, there in (("gone", False), ("used", True), ("young", True), ("unnoted", True)):
        assert store.exists("renditions", digest(f"rendition of {name}")) is there
        assert store.exists("thumbnails", digest(f"small {name}")) is there
    assert sweep(database, store) == PhotoSweep()


def test_objects_that_another_photo_shares_stay(database: Database, store: PhotoStore) -> None:
    """The same picture under other metadata: the rendition goes with its last photo."""
    add_photo(database, store, "one", rendition="shared")
    two = add_photo(database, store, "two", rendition="shared", let_go=None)
    assert sweep(database, store).removed == 1
    assert store.exists("renditions", digest("shared"))
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.orphaned_photos VALUES (%s, now() - interval '1 day')", (two,)
        )
    assert sweep(database, store).removed == 1
    assert not store.exists("renditions", digest("shared"))


def test_two_that_share_and_go_together_leave_nothing(
    database: Database, store: PhotoStore, tmp_path: Path
) -> None:
    """Neither is the other's reason to stay."""
    add_photo(database, store, "one", rendition="shared")
    add_photo(database, store, "two", rendition="shared")
    assert sweep(database, store).removed == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_rendition_that_was_put_again_keeps_its_photo(
    database: Database, store: PhotoStore
) -> None:
    """Somebody has put it for another photo, whose row can't be seen yet: next time."""
    kept = add_photo(database, store, "one", rendition="shared")
    message = sweep_photos(database, store, orphaned_s=3600)  # it was put just now
    assert (message.removed, message.put_again) == (0, 1)
    assert photos(database) == {kept}
    assert store.exists("renditions", digest("shared"))
    assert store.exists("thumbnails", digest("small one"))


def test_many_go_chunk_by_chunk(database: Database, store: PhotoStore, tmp_path: Path) -> None:
    """All of them, in several transactions; a call does so many chunks and the next goes on."""
    for number in range(25):
        add_photo(database, store, str(number))
    used = digest("3")
    with database.cursor() as cursor:
        refer(cursor, used)
    assert sweep(database, store, chunk=4, chunks=2).looked_at == 8
    message = sweep(database, store, chunk=4)
    assert message.looked_at == 17
    assert photos(database) == {used}
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


# Races --------------------------------------------------------------------------------------------


class PausedStore:
    """The real store, whose first deletion waits until it is let on: the locks are held then."""

    def __init__(self, store: PhotoStore) -> None:
        self.store = store
        self.reached, self.let_on = threading.Event(), threading.Event()

    def delete(self, kind: Kind, name: bytes, **_: float) -> bool:
        self.reached.set()
        assert self.let_on.wait(20)
        return self.store.delete(kind, name)


def wait_for_a_lock(database: Database) -> None:
    """Until some connection waits for another's lock."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if column(
            database,
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database()",
        ):
            return
        time.sleep(0.02)
    pytest.fail("nobody waits for a lock")


def test_a_reference_that_comes_first_keeps_the_photo(
    database: Database, store: PhotoStore
) -> None:
    """An uncommitted reference locks the photo's row: the sweep steps over it, then strikes it."""
    photo = add_photo(database, store, "one")
    other = add_photo(database, store, "two")
    with psycopg.connect(**connect_args(database.url.render_as_string())) as session:
        refer(session.cursor(), photo)
        assert sweep(database, store).removed == 1  # at once: it waits for nobody
        assert photos(database) == {photo}
        session.commit()
    assert sweep(database, store) == PhotoSweep(looked_at=1, still_used=1)
    assert photos(database) == {photo} and other not in photos(database)
    assert column(database, "SELECT count(*) FROM lalafo.orphaned_photos") == [0]
    assert store.exists("renditions", digest("rendition of one"))


def test_a_reference_that_meets_the_lock_is_told_that_the_photo_is_gone(
    database: Database, store: PhotoStore
) -> None:
    """It waits for the sweep's commit, then violates the foreign key: nothing dangles."""
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
        paused.let_on.set()
        assert swept.result(10).removed == 1
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            referred.result(10)
        session.rollback()
    assert photos(database) == set()
    # What the session does then: there is no row, so it stores the object anew.
    add_photo(database, store, "one", let_go=None)
    with database.cursor() as cursor:
        refer(cursor, photo)
    assert store.exists("renditions", digest("rendition of one"))


def test_a_sweep_that_rolls_back_lets_the_waiting_reference_in(
    database: Database, store: PhotoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is away: photo and note stay, the reference that waited holds."""
    photo = add_photo(database, store, "one")
    reached, let_on = threading.Event(), threading.Event()

    def away(*_: object, **__: object) -> bool:
        reached.set()
        assert let_on.wait(20)
        raise RetryableError("the store is away")

    monkeypatch.setattr(store, "delete", away)
    with (
        ThreadPoolExecutor(2) as pool,
        psycopg.connect(**connect_args(database.url.render_as_string())) as session,
    ):
        swept = pool.submit(sweep_photos, database, store, orphaned_s=3600)
        assert reached.wait(10)
        referred = pool.submit(refer, session.cursor(), photo)
        wait_for_a_lock(database)
        let_on.set()
        with pytest.raises(RetryableError, match="store is away"):
            swept.result(10)
        referred.result(10)
        session.commit()
    monkeypatch.undo()
    assert photos(database) == {photo}
    assert sweep(database, store).still_used == 1


def test_what_the_store_deleted_before_it_failed_has_no_row(
    database: Database, store: PhotoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two objects can't be deleted: its photo stays whole, the other is gone."""
    add_photo(database, store, "one")
    stays = add_photo(database, store, "two")
    real = store.delete

    def delete(kind: Kind, name: bytes, **_: float) -> bool:
        if name == digest("rendition of two"):
            raise RetryableError("the store is away")
        return real(kind, name)

    monkeypatch.setattr(store, "delete", delete)
    with pytest.raises(RetryableError):
        sweep_photos(database, store, orphaned_s=3600)
    assert photos(database) == {stays}
    assert store.exists("thumbnails", digest("small two"))
    assert not store.exists("renditions", digest("rendition of one"))


def test_a_second_sweep_leaves_the_first_alone(database: Database, store: PhotoStore) -> None:
    """Two at once would each take the other's photo for the last user of a rendition."""
    add_photo(database, store, "one")
    paused = PausedStore(store)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sweep_photos, database, paused, orphaned_s=3600)  # type: ignore[arg-type]
        assert paused.reached.wait(10)
        assert sweep(database, store) == PhotoSweep()
        paused.let_on.set()
        assert first.result(10).removed == 1


def test_a_session_that_takes_one_up_and_lets_another_go_is_in_no_deadlock(
    database: Database, store: PhotoStore
) -> None:
    """It holds one photo's note and waits for the other's row; the sweep waits for neither."""
    noted, wanted = add_photo(database, store, "one"), add_photo(database, store, "two")
    paused = PausedStore(store)
    with (
        ThreadPoolExecutor(2) as pool,
        psycopg.connect(**connect_args(database.url.render_as_string())) as session,
    ):
        session.execute(
            "UPDATE lalafo.orphaned_photos SET since = now() WHERE sha256 = %s", (noted,)
        )
        swept = pool.submit(sweep_photos, database, paused, orphaned_s=3600)  # type: ignore[arg-type]
        assert paused.reached.wait(10)
        referred = pool.submit(refer, session.cursor(), wanted)
        wait_for_a_lock(database)
        paused.let_on.set()
        assert swept.result(10).removed == 1
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            referred.result(10)
    assert photos(database) == {noted}
