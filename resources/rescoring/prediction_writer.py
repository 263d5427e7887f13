"""Write the predictions of a re-score, one chunk per transaction.

A newer row is never overwritten:

    the release is live    Readers see each row at once. The rows of the ads are locked, and only
                           ads that still have the scored revision get their prediction.
    it is not live         COPY directly into its partition. Rows that a commit wrote since the
                           read cause a conflict; then only older rows are replaced. Rows of ads
                           that a commit deleted since stay until `coverage.close_complete_days`
                           deletes them.

The chunk's own transaction chooses between the two, under the lock that every switch of the live
release takes exclusively. A chunk waits LOCK_TIMEOUT_MS for a commit; then it rolls back and
retries, so that PostgreSQL's deadlock detection never cancels a commit of a session.
"""

import random
import struct
import time
from dataclasses import dataclass

import psycopg

from ops.errors import RetryableError
from ops.tasks import Answers
from resources.catalogue.rows import PREDICTION_UPDATES
from resources.postgres import tables
from resources.postgres.binary_copy import copy_binary, staged_binary
from resources.postgres.database import Database
from resources.postgres.row_arrays import quoted

LOCK_TIMEOUT_MS = 500  # less than PostgreSQL waits (1 s) before it looks for a deadlock
ATTEMPTS = 20
_PAUSE_S = 0.05

COLUMNS = (
    *("release", "task", "run_id", "catalog", "ad_id", "revision", "day"),
    *("label", "score", "details"),
)
_FIELDS = struct.Struct(">h").pack(len(COLUMNS))
_LENGTH = struct.Struct(">i").pack
_SCORE_LENGTH = _LENGTH(4)
_JSONB_VERSION = b"\x01"


@dataclass(frozen=True, slots=True)
class Target:
    """The release and task of the predictions, and their destination."""

    release: str
    partition: str  # the release's table in schema lalafo
    task: str
    run_id: str


def encode(target: Target, keys: list[bytes], answers: Answers) -> bytes:
    """Encode the predictions as rows in binary COPY format, in the order of the ads.

    Args:
        keys: for each scored ad its catalog, id, revision and day, in binary COPY format.
    """
    same = _FIELDS + b"".join(
        _text(value) for value in (target.release, target.task, target.run_id)
    )
    labels = [_text(label) + _SCORE_LENGTH for label in answers.labels]
    scores = answers.score.astype(">f4").tobytes()
    parts: list[bytes] = []
    columns = zip(answers.ads.tolist(), answers.label.tolist(), answers.details, strict=True)
    for index, (ad, label, details) in enumerate(columns):
        parts += (
            *(same, keys[ad], labels[label], scores[4 * index : 4 * index + 4]),
            *(_LENGTH(len(details) + 1), _JSONB_VERSION, details.encode("ascii")),
        )
    return b"".join(parts)


def write(database: Database, target: Target, rows: bytes) -> int:
    """Write a chunk; return the number of predictions written, without those that existed already.

    Raises:
        RetryableError: the server is unavailable, or the rows were locked at every attempt.
    """
    conflicts = False
    for attempt in range(ATTEMPTS):
        try:
            with database.cursor() as cursor:
                return _write(cursor, target, rows, conflicts=conflicts)
        except psycopg.errors.UniqueViolation:
            conflicts = True
            continue
        except RetryableError as error:
            if not isinstance(error.__cause__, _LOCK_CONFLICTS) or attempt + 1 == ATTEMPTS:
                raise
        time.sleep(_PAUSE_S * (1 + random.random()))  # noqa: S311 - not a secret
    raise AssertionError("unreachable")


_LOCK_CONFLICTS = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


def _write(
    cursor: psycopg.Cursor[tuple[object, ...]], target: Target, rows: bytes, *, conflicts: bool
) -> int:
    if _lock_active_releases(cursor) == target.release:
        return _upsert_guarded(cursor, rows)
    if conflicts:
        return _merge(cursor, staged_binary(cursor, tables.predictions, COLUMNS, rows))
    copy_binary(cursor, f"lalafo.{target.partition}", COLUMNS, rows)
    return cursor.rowcount


def _lock_active_releases(cursor: psycopg.Cursor[tuple[object, ...]]) -> object:
    """Return the live release, locked until the transaction ends; None if there is none."""
    cursor.execute(
        "SELECT live, set_config('lock_timeout', %s, true) "
        "FROM lalafo.active_releases FOR SHARE OF active_releases",
        (str(LOCK_TIMEOUT_MS),),
    )
    row = cursor.fetchone()
    return None if row is None else row[0]


def _upsert_guarded(cursor: psycopg.Cursor[tuple[object, ...]], rows: bytes) -> int:
    source = staged_binary(cursor, tables.predictions, COLUMNS, rows)
    # With the lock on the ad's row, a newer event either waits or is visible here. Commits take
    # these locks in the order of the key's text.
    return _merge(
        cursor,
        f"{source} JOIN fresh USING (catalog, ad_id, revision)",
        "WITH fresh AS MATERIALIZED (SELECT a.catalog, a.ad_id, a.revision FROM lalafo.ads AS a "
        f"JOIN {source} AS s USING (catalog, ad_id, revision) WHERE a.status = 'scored' "
        "ORDER BY (a.catalog || '/' || a.ad_id) COLLATE \"C\" FOR SHARE OF a) ",
    )


def _merge(cursor: psycopg.Cursor[tuple[object, ...]], source: str, before: str = "") -> int:
    names = quoted(COLUMNS)
    cursor.execute(
        f"{before}INSERT INTO lalafo.predictions AS held ({names}) SELECT {names} FROM {source} "
        'ORDER BY catalog COLLATE "C", ad_id COLLATE "C" '
        f"ON CONFLICT (release, catalog, ad_id, task) DO UPDATE SET {PREDICTION_UPDATES} "
        "WHERE held.revision < EXCLUDED.revision"
    )
    return cursor.rowcount


def _text(value: str) -> bytes:
    data = value.encode()
    return _LENGTH(len(data)) + data
