"""Rows that are kept for a time only: deleted by age, in chunks, so that no lock is long.

Decides which rows those are. Refuses to touch what says how things stand: a photo's failure is the
reason that its ad shows, so it goes with the ad's rows and not by age; leases are never old.
"""

from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.photos import PhotoStore

SESSIONS_KEPT_DAYS = 1
CHUNK_ROWS = 5_000
CHUNKS = 200
"""A call deletes a million rows of a table at most: the next one goes on."""

UPLOADS_KEPT_S = 3_600.0
"""Sessions that read them at this moment have done so by then, and what is put again is young."""

UPLOAD_CHUNK_ROWS = 200
UPLOAD_CHUNKS = 100

# The row is locked: who sends the photo again waits, then finds no row and makes a new one, with
# the object that it has put. `named` is computed once, and only where something is so old.
_OLD_UPLOADS = """
WITH named AS MATERIALIZED (
    SELECT decode(photo ->> 'sha256', 'hex') AS sha256
    FROM lalafo.accepted_ads AS w, jsonb_array_elements(w.event -> 'photos') AS photo
    WHERE photo ? 'sha256' AND NOT EXISTS (SELECT FROM lalafo.ads AS a
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

# `day` is never later than the moment, and it has the index. It may be far earlier, the day of the
# ad's first event: so the moment decides.
_BEFORE = "now() - make_interval(secs => %(days)s * 86400)"
_DAY_BEFORE = f"(({_BEFORE}) AT TIME ZONE 'UTC')::date"
_OLD = {
    "stage_timings": f"day <= {_DAY_BEFORE} AND polled_at < {_BEFORE}",
    # Replayed or not: whoever wants one again has until then.
    "failures": f"kind <> 'photo' AND day <= {_DAY_BEFORE} AND failed_at < {_BEFORE}",
    "sessions": f"expires_at < {_BEFORE}",
    # Once `ads` has as much, an accepted row only tells repeats apart; before, it is all there is.
    "accepted_ads": f"accepted_at < {_BEFORE} AND EXISTS (SELECT FROM lalafo.ads AS a "
    "WHERE a.catalog = accepted_ads.catalog AND a.ad_id = accepted_ads.ad_id "
    "AND a.revision >= accepted_ads.revision)",
    "idempotency_keys": f"created_at < {_BEFORE}",
    "stream_minutes": f"minute < {_BEFORE}",
}


def delete_old_uploads(database: Database, store: PhotoStore, settings: Settings) -> int:
    """Delete bytes that callers sent and nobody needs: how many photos.

    Their rendition is stored for an hour, or they are older than the settings keep and no accepted
    ad that is still to be scored names them. The object goes first, then its row; one that is sent
    again meanwhile stays.

    Raises:
        RetryableError: the server or the store is away; the next call goes on.
        ConfigurationError: the store may not be written.
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
            gone = [sha256 for sha256 in old if _delete_upload(store, sha256)]
            cursor.execute("DELETE FROM lalafo.uploads WHERE sha256 = ANY(%s)", (gone,))
        deleted += len(gone)
        if len(old) < UPLOAD_CHUNK_ROWS:
            break
        after = old[-1]
    return deleted


def _delete_upload(store: PhotoStore, sha256: bytes) -> bool:
    return store.delete("uploads", sha256, unless_put_within_s=UPLOADS_KEPT_S)


def delete_old_rows(database: Database, settings: Settings) -> dict[str, int]:
    """Delete what is older than the settings keep; how many rows of each table.

    Rows that somebody has locked are left to the next call. A repeated call deletes nothing.

    Raises RetryableError where the server is away; what was deleted stays deleted.
    """
    kept_days = {
        "stage_timings": settings.keep_timings_days,
        "failures": settings.keep_failures_days,
        "sessions": SESSIONS_KEPT_DAYS,
        "accepted_ads": settings.keep_accepted_hours / 24,
        "idempotency_keys": settings.keep_accepted_hours / 24,
        "stream_minutes": settings.keep_timings_days,
    }
    return {table: _delete_old(database, table, days) for table, days in kept_days.items()}


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
