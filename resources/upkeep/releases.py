"""Deletes the predictions and embeddings of superseded releases.

Owns the definition of superseded: neither active, nor announced, nor changed within the retention
time of the settings. The release itself stays in the registry and in the store: if it is proposed
again, the catalogue is scored with it again.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from ops.errors import RetryableError
from resources.postgres.database import Database
from resources.releases.promotion import retire_previous
from resources.releases.registry import (
    RegisteredRelease,
    partition_name,
    photo_partition_name,
    read_releases,
)

CHUNK_ROWS = 10_000
CHUNKS = 500
"""A call deletes at most five million embeddings; the next call continues."""

_KEPT = (
    "SELECT r.name FROM lalafo.releases AS r WHERE EXISTS (SELECT FROM lalafo.active_releases "
    "AS f WHERE r.name IN (f.live, f.candidate, f.previous, f.announced)) "
    "OR greatest(r.created_at, (SELECT max(c.changed_at) FROM lalafo.release_changes AS c "
    "WHERE c.release = r.name OR c.instead_of = r.name)) "
    "> now() - make_interval(secs => %(seconds)s)"
)


@dataclass(frozen=True, slots=True)
class RemovedReleases:
    """The releases whose rows a call deleted."""

    retired: str | None  # the previous live release, if it was retired in this call
    emptied: tuple[str, ...]  # releases whose predictions were deleted
    embeddings: int


def remove_superseded(database: Database, *, keep_days: float) -> RemovedReleases:
    """Retire the previous live release, and delete the rows of superseded releases.

    Raises:
        RetryableError: the server is unavailable; completed deletions stay.
    """
    retired = retire_previous(database, after_days=keep_days)
    with database.cursor() as cursor:
        cursor.execute(_KEPT, {"seconds": keep_days * 86_400})
        retained = {row[0] for row in cursor.fetchall()}
    known = read_releases(database)
    emptied = tuple(
        release.name
        for release in known
        if release.name not in retained and _empty(database, release)
    )
    backbones = {release.backbone for release in known if release.name in retained}
    unused = sorted({release.backbone for release in known} - backbones)
    deleted = sum(_delete_embeddings(database, backbone) for backbone in unused)
    return RemovedReleases(retired, emptied, deleted)


def _empty(database: Database, release: RegisteredRelease) -> bool:
    """Delete a release's predictions; False while a long query locks them, until a later call."""
    try:
        return _remove_predictions(database, release)
    except RetryableError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            return False
        raise


def _remove_predictions(database: Database, release: RegisteredRelease) -> bool:
    """Drop a release's partitions and its days' states; whether there was one."""
    names = {
        "predictions": partition_name(release.digest),
        "photo_predictions": photo_partition_name(release.digest),
    }
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT of FROM unnest(%s::text[], %s::text[]) AS it (of, name) "
            "WHERE to_regclass('lalafo.' || quote_ident(name)) IS NOT NULL",
            (list(names), list(names.values())),
        )
        there = [row[0] for row in cursor.fetchall()]
        if not there:
            return False
        # Sessions use the parent table all the time: a short timeout keeps them from queueing
        # behind this lock.
        cursor.execute("SET LOCAL lock_timeout = '1s'")
        cursor.execute(
            "SELECT FROM lalafo.active_releases WHERE %s IN (live, candidate, previous, "
            "announced) FOR UPDATE",
            (release.name,),
        )
        if cursor.rowcount > 0:
            return False  # it has become active meanwhile
        for of in there:
            parent, table = sql.Identifier("lalafo", of), sql.Identifier("lalafo", names[of])
            cursor.execute(sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(parent, table))
            cursor.execute(sql.SQL("DROP TABLE {}").format(table))
        cursor.execute("DELETE FROM lalafo.release_days WHERE release = %s", (release.name,))
    return True


def _delete_embeddings(database: Database, backbone: str) -> int:
    deleted = 0
    for _ in range(CHUNKS):
        with database.cursor() as cursor:
            cursor.execute(
                "DELETE FROM lalafo.embeddings WHERE ctid = ANY(ARRAY(SELECT ctid "
                "FROM lalafo.embeddings WHERE backbone = %s LIMIT %s FOR UPDATE SKIP LOCKED))",
                (backbone, CHUNK_ROWS),
            )
            deleted += cursor.rowcount
            if cursor.rowcount < CHUNK_ROWS:
                break
    return deleted
