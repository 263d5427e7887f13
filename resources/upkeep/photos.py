"""Photos that no ad refers to any more: their objects and rows, taken away safely.

Decides the order in which a photo goes, and what holds it back. Refuses to look at the whole
table: a commit that takes a reference away leaves the photo in `lalafo.orphaned_photos`.

The order: lock the photo's row, look again for references, delete the objects, delete the row,
commit. A session that meets the lock waits, since its insert into `ad_photos` locks the row too,
and is told by the foreign key that the photo is gone; one that comes later finds no row and stores
the object anew. Two photos may share a rendition (the same picture, other metadata), and a session
that is about to commit the second one has put it but has no row yet: so an object that was put
within the hour stays, and its photo waits for the next sweep.
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
Place = tuple[datetime, bytes]  # in orphaned_photos, by (since, sha256)

SWEEP_LOCK = 0x1A1AF1
"""Two sweeps at once would each take the other's photo for a rendition's last user."""

_START: Place = (datetime(1, 1, 1, tzinfo=UTC), b"")
_THREADS = 8  # an object store answers each deletion in tens of milliseconds


@dataclass(slots=True)
class PhotoSweep:
    """What a sweep found and did."""

    looked_at: int = 0
    still_used: int = 0  # an ad refers to them again: no longer let go
    removed: int = 0
    put_again: int = 0  # somebody may be about to use the rendition: next time
    objects: int = 0  # renditions and thumbnails deleted


@dataclass(frozen=True, slots=True)
class _Photo:
    sha256: bytes
    rendition: bytes
    thumbnail: bytes | None


def sweep_photos(
    database: Database, store: PhotoStore, *, orphaned_s: float, chunk: int = 500, chunks: int = 20
) -> PhotoSweep:
    """Remove photos that nothing has referred to for `orphaned_s`.

    Rows that somebody has locked, and a sweep that is under way already, are left to the next
    call. A repeated call does what is left. Each chunk is a transaction.

    Raises:
        RetryableError: PostgreSQL or the store is away. What the store did is committed first;
            where PostgreSQL itself went, rows stay whose objects are gone, and the next call
            takes them.
        ConfigurationError: the store may not be written.
    """
    sweep = PhotoSweep()
    place: Place | None = _START
    for _ in range(chunks):
        if place is None:
            break
        with database.cursor() as cursor:
            place, error = _sweep_chunk(
                cursor, store, sweep, after=place, orphaned_s=orphaned_s, chunk=chunk
            )
        if error is not None:
            raise error
    return sweep


def _sweep_chunk(
    cursor: Cursor,
    store: PhotoStore,
    sweep: PhotoSweep,
    *,
    after: Place,
    orphaned_s: float,
    chunk: int,
) -> tuple[Place | None, LalafoError | None]:
    """Where the next chunk starts, and what stopped this one after what it did."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (SWEEP_LOCK,))
    if cursor.fetchall() == [(False,)]:
        return None, None
    # Their notes first, and nothing is waited for: a session that lets go of a photo and takes
    # another one up in one commit can't be in a deadlock with us.
    cursor.execute(
        "SELECT since, sha256 FROM lalafo.orphaned_photos "
        "WHERE since < clock_timestamp() - make_interval(secs => %s) "
        "AND (since, sha256) > (%s, %s) ORDER BY since, sha256 LIMIT %s FOR UPDATE SKIP LOCKED",
        (orphaned_s, *after, chunk),
    )
    noted: list[Place] = cursor.fetchall()
    photos = _lock(cursor, [sha256 for _, sha256 in noted])
    used = _used(cursor, [photo.sha256 for photo in photos])
    cursor.execute("DELETE FROM lalafo.orphaned_photos WHERE sha256 = ANY(%s)", (list(used),))
    unused = [photo for photo in photos if photo.sha256 not in used]
    gone, error = _delete_objects(cursor, store, unused, sweep, orphaned_s)
    cursor.execute("DELETE FROM lalafo.photos WHERE sha256 = ANY(%s)", (gone,))
    sweep.looked_at += len(photos)
    sweep.still_used += len(used)
    sweep.removed += len(gone)
    return (noted[-1] if len(noted) == chunk else None), error


def _lock(cursor: Cursor, sha256s: list[bytes]) -> list[_Photo]:
    cursor.execute(
        "SELECT sha256, rendition_sha256, thumbnail_sha256 FROM lalafo.photos "
        "WHERE sha256 = ANY(%s) ORDER BY sha256 FOR UPDATE SKIP LOCKED",
        (sha256s,),
    )
    return [_Photo(*row) for row in cursor.fetchall()]


def _used(cursor: Cursor, sha256s: list[bytes]) -> set[bytes]:
    """Those that an ad refers to: read after the lock, so that no reference can follow."""
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
    """The photos that have no objects left, and the error that stopped the others."""
    if not photos:
        return [], None
    renditions, thumbnails = _shared(cursor, photos)
    own = {photo.rendition for photo in photos} - renditions
    answers = _delete_each(store, "renditions", own, orphaned_s)
    errors = [answer for answer in answers.values() if isinstance(answer, LalafoError)]
    going = [photo for photo in photos if answers.get(photo.rendition, True) is True]
    sweep.put_again += sum(answers.get(photo.rendition) is False for photo in photos)
    pictures = {photo.thumbnail for photo in going if photo.thumbnail is not None} - thumbnails
    # A thumbnail that stays costs its bytes; it can be made again, and holds no photo back.
    made = _delete_each(store, "thumbnails", pictures, orphaned_s)
    errors += [answer for answer in made.values() if isinstance(answer, LalafoError)]
    sweep.objects += sum(answer is True for answer in (*answers.values(), *made.values()))
    return [photo.sha256 for photo in going], (errors[0] if errors else None)


def _shared(cursor: Cursor, photos: Sequence[_Photo]) -> tuple[set[bytes], set[bytes]]:
    """Of the photos' renditions and thumbnails, those that another photo's row names too."""
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
    """For each: whether it is gone, or why that can't be told."""

    def delete(name: bytes) -> tuple[bytes, bool | LalafoError]:
        try:
            return name, store.delete(kind, name, unless_put_within_s=orphaned_s)
        except LalafoError as error:
            return name, error

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="delete") as pool:
        return dict(pool.map(delete, names))
