"""Deletes photos that no ad refers to any more, with their objects and rows.

Owns the order of the steps, and which photos are kept. Does not scan the whole table: a commit
that removes a reference records the photo in `lalafo.orphaned_photos`.

The order: lock the photo's row, check for references again, delete the objects, delete the row,
commit. A session that runs into the lock waits, since its insert into `ad_photos` locks the row
too, and then violates the foreign key; a later session finds no row and stores the object again.
Two photos may share a rendition (the same picture, other metadata), and a session that is about to
commit the second one has put the rendition but has no row yet. Therefore an object that was put
within the last `orphaned_s` seconds is kept, and its photo waits for the next sweep.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from ops.errors import LalafoError
from resources.postgres.database import Database
from resources.storage.photos import Kind, PhotoStore

Cursor = psycopg.Cursor[Any]
Position = tuple[datetime, bytes]  # (since, sha256) in orphaned_photos

SWEEP_LOCK = 0x1A1AF1
"""Advisory lock for one sweep at a time: with two, each could count on the other's photo to keep a
shared rendition."""

_START: Position = (datetime(1, 1, 1, tzinfo=UTC), b"")
_THREADS = 8  # an object store answers each deletion in tens of milliseconds


@dataclass(slots=True)
class PhotoSweep:
    """The counts of a sweep."""

    looked_at: int = 0
    still_used: int = 0  # an ad refers to them again: no longer orphaned
    removed: int = 0
    put_again: int = 0  # put recently, perhaps for a new photo: left to the next sweep
    objects: int = 0  # renditions and thumbnails deleted


@dataclass(frozen=True, slots=True)
class _Photo:
    sha256: bytes
    rendition: bytes
    thumbnail: bytes | None


def sweep_photos(
    database: Database, store: PhotoStore, *, orphaned_s: float, chunk: int = 500, chunks: int = 20
) -> PhotoSweep:
    """Delete photos that no ad has referred to for `orphaned_s` seconds.

    Locked rows are left to the next call; while another sweep runs, nothing is done. A repeated
    call continues. Each chunk is a transaction.

    Raises:
        RetryableError: PostgreSQL or the store is unavailable. Deletions that succeeded are
            committed first; if PostgreSQL fails, rows whose objects are deleted remain, and the
            next call deletes them.
        ConfigurationError: access to the store was denied.
    """
    sweep = PhotoSweep()
    position: Position | None = _START
    for _ in range(chunks):
        if position is None:
            break
        with database.cursor() as cursor:
            position, error = _sweep_chunk(
                cursor, store, sweep, after=position, orphaned_s=orphaned_s, chunk=chunk
            )
        if error is not None:
            raise error
    return sweep


def _sweep_chunk(
    cursor: Cursor,
    store: PhotoStore,
    sweep: PhotoSweep,
    *,
    after: Position,
    orphaned_s: float,
    chunk: int,
) -> tuple[Position | None, LalafoError | None]:
    """Where the next chunk starts, and the error that stopped this one, if any."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (SWEEP_LOCK,))
    if cursor.fetchall() == [(False,)]:
        return None, None
    # Lock the records first, and wait for no lock: a session that orphans one photo and refers to
    # another in one commit can't deadlock with the sweep.
    cursor.execute(
        "SELECT since, sha256 FROM lalafo.orphaned_photos "
        "WHERE since < clock_timestamp() - make_interval(secs => %s) "
        "AND (since, sha256) > (%s, %s) ORDER BY since, sha256 LIMIT %s FOR UPDATE SKIP LOCKED",
        (orphaned_s, *after, chunk),
    )
    orphaned: list[Position] = cursor.fetchall()
    photos = _lock(cursor, [sha256 for _, sha256 in orphaned])
    used = _used(cursor, [photo.sha256 for photo in photos])
    cursor.execute("DELETE FROM lalafo.orphaned_photos WHERE sha256 = ANY(%s)", (list(used),))
    unused = [photo for photo in photos if photo.sha256 not in used]
    deleted, error = _delete_objects(cursor, store, unused, sweep, orphaned_s)
    cursor.execute("DELETE FROM lalafo.photo_predictions WHERE sha256 = ANY(%s)", (deleted,))
    cursor.execute("DELETE FROM lalafo.photos WHERE sha256 = ANY(%s)", (deleted,))
    sweep.looked_at += len(photos)
    sweep.still_used += len(used)
    sweep.removed += len(deleted)
    return (orphaned[-1] if len(orphaned) == chunk else None), error


def _lock(cursor: Cursor, sha256s: list[bytes]) -> list[_Photo]:
    cursor.execute(
        "SELECT sha256, rendition_sha256, thumbnail_sha256 FROM lalafo.photos "
        "WHERE sha256 = ANY(%s) ORDER BY sha256 FOR UPDATE SKIP LOCKED",
        (sha256s,),
    )
    return [_Photo(*row) for row in cursor.fetchall()]


def _used(cursor: Cursor, sha256s: list[bytes]) -> set[bytes]:
    """Those that an ad refers to: read under the lock, so that no new reference can appear."""
    cursor.execute(
        "SELECT DISTINCT sha256 FROM lalafo.ad_photos WHERE sha256 = ANY(%s)", (sha256s,)
    )
    return {sha256 for (sha256,) in cursor.fetchall()}


def _delete_objects(
    cursor: Cursor,
    store: PhotoStore,
    photos: Sequence[_Photo],
    sweep: PhotoSweep,
    orphaned_s: float,
) -> tuple[list[bytes], LalafoError | None]:
    """Delete the photos' objects; the photos without objects left, and the first error."""
    if not photos:
        return [], None
    renditions, thumbnails = _shared(cursor, photos)
    unshared = {photo.rendition for photo in photos} - renditions
    results = _delete_each(store, "renditions", unshared, orphaned_s)
    errors = [result for result in results.values() if isinstance(result, LalafoError)]
    deleted = [photo for photo in photos if results.get(photo.rendition, True) is True]
    sweep.put_again += sum(results.get(photo.rendition) is False for photo in photos)
    unused = {photo.thumbnail for photo in deleted if photo.thumbnail is not None} - thumbnails
    # A thumbnail that stays only costs space; it can be created again, and keeps no photo.
    small = _delete_each(store, "thumbnails", unused, orphaned_s)
    errors += [result for result in small.values() if isinstance(result, LalafoError)]
    sweep.objects += sum(result is True for result in (*results.values(), *small.values()))
    return [photo.sha256 for photo in deleted], (errors[0] if errors else None)


def _shared(cursor: Cursor, photos: Sequence[_Photo]) -> tuple[set[bytes], set[bytes]]:
    """Those of the photos' renditions and thumbnails that other photos refer to as well."""
    cursor.execute(
        "SELECT rendition_sha256, thumbnail_sha256 FROM lalafo.photos "
        "WHERE (rendition_sha256 = ANY(%s) OR thumbnail_sha256 = ANY(%s)) AND sha256 <> ALL(%s)",
        (
            [photo.rendition for photo in photos],
            [photo.thumbnail for photo in photos if photo.thumbnail is not None],
            [photo.sha256 for photo in photos],
        ),
    )
    rows = cursor.fetchall()
    return {row[0] for row in rows}, {row[1] for row in rows}


def _delete_each(
    store: PhotoStore, kind: Kind, names: Iterable[bytes], orphaned_s: float
) -> dict[bytes, bool | LalafoError]:
    """For each object: whether it is deleted, or the error."""

    def delete(name: bytes) -> tuple[bytes, bool | LalafoError]:
        try:
            return name, store.delete(kind, name, unless_put_within_s=orphaned_s)
        except LalafoError as error:
            return name, error

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="delete") as pool:
        return dict(pool.map(delete, names))
