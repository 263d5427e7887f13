"""Rows that are kept for a time only: deleted by age, in chunks, so that no lock is long.

Decides which rows those are. Refuses to touch what says how things stand: a photo's failure is the
reason that its ad shows, so it goes with the ad's rows and not by age; leases are never old.
"""

from resources.database import Database
from resources.settings import Settings

SESSIONS_KEPT_DAYS = 1
CHUNK_ROWS = 5_000
CHUNKS = 200
"""A call deletes a million rows of a table at most: the next one goes on."""

# `day` is never later than the moment, and it has the index. It may be far earlier, the day of the
# ad's first event: so the moment decides.
_BEFORE = "now() - make_interval(days => %(days)s)"
_DAY_BEFORE = f"(({_BEFORE}) AT TIME ZONE 'UTC')::date"
_OLD = {
    "stage_timings": f"day <= {_DAY_BEFORE} AND polled_at < {_BEFORE}",
    # Replayed or not: whoever wants one again has until then.
    "failures": f"kind <> 'photo' AND day <= {_DAY_BEFORE} AND failed_at < {_BEFORE}",
    "sessions": f"expires_at < {_BEFORE}",
}


def delete_old_rows(database: Database, settings: Settings) -> dict[str, int]:
    """Delete what is older than the settings keep; how many rows of each table.

    Rows that somebody has locked are left to the next call. A repeated call deletes nothing.

    Raises RetryableError where the server is away; what was deleted stays deleted.
    """
    kept_days = {
        "stage_timings": settings.keep_timings_days,
        "failures": settings.keep_failures_days,
        "sessions": SESSIONS_KEPT_DAYS,
    }
    return {table: _delete_old(database, table, days) for table, days in kept_days.items()}


def _delete_old(database: Database, table: str, days: int) -> int:
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
