"""Deletes rows and uploads after their retention time, in chunks, so that locks are short.

Owns which rows expire. Rows of current state are never deleted by age: a photo's failure is the
reason that its ad shows, so it is deleted with the ad's rows; leases do not expire.
"""

from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.photos import PhotoStore

SESSIONS_KEPT_DAYS = 1
CHUNK_ROWS = 5_000
CHUNKS = 200
"""A call deletes at most a million rows per table; the next call continues."""

UPLOADS_KEPT_S = 3_600.0
"""Seconds that an upload is kept after its photo was stored: by then sessions that were reading it
have finished, and an upload that is put again is newer."""

UPLOAD_CHUNK_ROWS = 200
UPLOAD_CHUNKS = 100

# The row is locked: a request that uploads the photo again waits, then finds no row and inserts a
# new one, with the object that it has put. `named` is computed once, and only if a row is so old.
# Most events name their photos by URL: their ads are not looked up.
_OLD_UPLOADS = """
WITH named AS MATERIALIZED (
    SELECT decode(photo ->> 'sha256', 'hex') AS sha256
    FROM lalafo.accepted_ads AS w, jsonb_array_elements(w.event -> 'photos') AS photo
    WHERE jsonb_path_exists(w.event, '$.photos[*].sha256') AND photo ? 'sha256'
        AND NOT EXISTS (SELECT FROM lalafo.ads AS a
        WHERE a.catalog = w.catalog AND a.ad_id = w.ad_id
        AND a.revision >= w.revision AND a.status <> 'received')
)
SELECT u.sha256 FROM lalafo.uploads AS u
WHERE u.sha256 > %(after)s AND (
    u.uploaded_at < now() - make_interval(secs => %(stored_s)s)
    AND EXISTS (SELECT FROM lalafo.photos AS p WHERE p.sha256 = u.sha256)
    OR u.uploaded_at < now() - make_interval(secs => %(sent_s)s)
    AND u.sha256 NOT IN (SELECT sha256 FROM named)
)
ORDER BY u.sha256 LIMIT %(chunk)s FOR UPDATE OF u SKIP LOCKED
"""

# `day` has the index and is never later than the timestamp. It may be much earlier (the day of the
# ad's first event), so the timestamp is compared too.
_BEFORE = "now() - make_interval(secs => %(days)s * 86400)"
_DAY_BEFORE = f"(({_BEFORE}) AT TIME ZONE 'UTC')::date"
_OLD = {
    "stage_timings": f"day <= {_DAY_BEFORE} AND polled_at < {_BEFORE}",
    # Whether or not they were replayed.
    "failures": f"kind <> 'photo' AND day <= {_DAY_BEFORE} AND failed_at < {_BEFORE}",
    "sessions": f"expires_at < {_BEFORE}",
    # Once `ads` has the revision, an accepted row only serves to detect repeated requests; before,
    # it is the only copy.
    "accepted_ads": f"accepted_at < {_BEFORE} AND EXISTS (SELECT FROM lalafo.ads AS a "
    "WHERE a.catalog = accepted_ads.catalog AND a.ad_id = accepted_ads.ad_id "
    "AND a.revision >= accepted_ads.revision)",
    "idempotency_keys": f"created_at < {_BEFORE}",
    "stream_minutes": f"minute < {_BEFORE}",
}


def delete_old_uploads(database: Database, store: PhotoStore, settings: Settings) -> int:
    """Delete uploads that are no longer needed.

    These are uploads older than an hour whose photo is stored, and uploads beyond their retention
    time that no accepted but unscored ad refers to. The object is deleted first, then its row; an
    upload that is sent again meanwhile is kept.

    Returns: the number of deleted uploads.

    Raises:
        RetryableError: the server or the store is unavailable; the next call continues.
        ConfigurationError: access to the store was denied.
    """
    deleted, after = 0, b""
    for _ in range(UPLOAD_CHUNKS):
        with database.cursor() as cursor:
            cursor.execute(
                _OLD_UPLOADS,
                {
                    "after": after,
                    "stored_s": UPLOADS_KEPT_S,
                    "sent_s": settings.keep_uploads_days * 86_400,
                    "chunk": UPLOAD_CHUNK_ROWS,
                },
            )
            old: list[bytes] = [sha256 for (sha256,) in cursor.fetchall()]
            removed = [sha256 for sha256 in old if _delete_upload(store, sha256)]
            cursor.execute("DELETE FROM lalafo.uploads WHERE sha256 = ANY(%s)", (removed,))
        deleted += len(removed)
        if len(old) < UPLOAD_CHUNK_ROWS:
            break
        after = old[-1]
    return deleted


def _delete_upload(store: PhotoStore, sha256: bytes) -> bool:
    return store.delete("uploads", sha256, unless_put_within_s=UPLOADS_KEPT_S)


def delete_old_rows(database: Database, settings: Settings) -> dict[str, int]:
    """Delete rows beyond their retention time.

    Locked rows are left to the next call. A repeated call deletes nothing.

    Returns: the number of deleted rows by table.

    Raises:
        RetryableError: the server is unavailable; completed deletions stay.
    """
    retention_days = {
        "stage_timings": settings.keep_timings_days,
        "failures": settings.keep_failures_days,
        "sessions": SESSIONS_KEPT_DAYS,
        "accepted_ads": settings.keep_accepted_hours / 24,
        "idempotency_keys": settings.keep_accepted_hours / 24,
        "stream_minutes": settings.keep_timings_days,
    }
    return {table: _delete_old(database, table, days) for table, days in retention_days.items()}


def _delete_old(database: Database, table: str, days: float) -> int:
    deleted = 0
    for _ in range(CHUNKS):
        with database.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM lalafo.{table} WHERE ctid = ANY(ARRAY(SELECT ctid "
                f"FROM lalafo.{table} WHERE {_OLD[table]} LIMIT %(chunk)s FOR UPDATE SKIP LOCKED))",
                {"days": days, "chunk": CHUNK_ROWS},
            )
            deleted += cursor.rowcount
            if cursor.rowcount < CHUNK_ROWS:
                break
    return deleted
