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

For a release that is not live a chunk's commit does not wait for the disk: if PostgreSQL's machine
fails, the ads of the last moments are stale again. `make_durable` waits for all commits before it;
so does the commit that closes a day, because the log is written in order.
"""

import random
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import psycopg
from numpy.typing import NDArray

from ops.errors import RetryableError
from ops.tasks import Answers, TopLabels
from resources.catalogue.rows import PREDICTION_UPDATES
from resources.postgres import tables
from resources.postgres.binary_copy import copy_binary, staged_binary
from resources.postgres.database import Database
from resources.postgres.row_arrays import quoted

LOCK_TIMEOUT_MS = 500  # less than PostgreSQL waits (1 s) before it looks for a deadlock
ATTEMPTS = 20
_PAUSE_S = 0.05

_COLUMNS = (
    *("release", "task", "run_id", "catalog", "ad_id", "revision", "day"),
    *("label", "score"),
)
_TOP_COLUMNS = (*_COLUMNS, "top_labels", "top_scores")
_DETAILS_COLUMNS = (*_COLUMNS, "details")
_LABEL_DETAILS_COLUMNS = (*_COLUMNS[:-2], "details", *_TOP_COLUMNS[-4:])
_FIELDS = struct.Struct(">h").pack
_LENGTH = struct.Struct(">i").pack
_JSONB_VERSION = b"\x01"
_INT4_OID, _FLOAT4_OID = 23, 700  # fixed numbers, in pg_type.dat


@dataclass(frozen=True, slots=True)
class Target:
    """The release and task of the predictions, and their destination."""

    release: str
    partition: str  # the release's table in schema lalafo
    task: str
    run_id: str


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Rows of `predictions` in binary COPY format, without signature and trailer."""

    columns: tuple[str, ...]
    data: bytes


def encode(target: Target, keys: list[bytes], answers: Answers) -> EncodedRows:
    """Encode the predictions as rows in binary COPY format, in the order of the ads.

    Args:
        keys: for each scored ad its catalog, id, revision and day, in binary COPY format.
    """
    columns: tuple[str, ...]
    if isinstance(answers.details, TopLabels):
        columns, ends = _TOP_COLUMNS, _scores_and_top(answers.score, answers.details)
        if answers.label_details is not None:
            columns = _LABEL_DETAILS_COLUMNS
    else:
        columns, ends = _DETAILS_COLUMNS, _scores_and_details(answers.score, answers.details)
    same = _FIELDS(len(columns)) + b"".join(
        _text(value) for value in (target.release, target.task, target.run_id)
    )
    labels = [_text(label) for label in answers.labels]
    if answers.label_details is not None:
        labels = [
            _json(text) + label for text, label in zip(answers.label_details, labels, strict=True)
        ]
    parts: list[bytes] = []
    for ad, label, end in zip(answers.ads.tolist(), answers.label.tolist(), ends, strict=True):
        parts += (same, keys[ad], labels[label], end)
    return EncodedRows(columns, b"".join(parts))


def _scores_and_top(score: NDArray[np.float32], top: TopLabels) -> list[bytes]:
    """Each row's score and its two arrays, as fields of binary COPY."""
    ads, count = top.labels.shape
    header = [(name, ">i4") for name in ("bytes", "dimensions", "nulls", "type", "count", "first")]
    array = {
        oid: np.dtype([*header, ("items", [("bytes", ">i4"), ("value", kind)], count)])
        for oid, kind in ((_INT4_OID, ">i4"), (_FLOAT4_OID, ">f4"))
    }
    ends = np.zeros(
        ads,
        [
            *(("score_bytes", ">i4"), ("score", ">f4")),
            *(("labels", array[_INT4_OID]), ("scores", array[_FLOAT4_OID])),
        ],
    )
    ends["score_bytes"], ends["score"] = 4, score
    for name, oid, values in (
        ("labels", _INT4_OID, top.labels),
        ("scores", _FLOAT4_OID, top.scores),
    ):
        field = ends[name]
        field["bytes"], field["dimensions"], field["type"] = array[oid].itemsize - 4, 1, oid
        field["count"], field["first"] = count, 1
        field["items"]["bytes"], field["items"]["value"] = 4, values
    return cast(list[bytes], ends.view(f"V{ends.itemsize}").tolist())


def _scores_and_details(score: NDArray[np.float32], details: Sequence[str]) -> list[bytes]:
    """Each row's score and its details as JSON, as fields of binary COPY."""
    scores = score.astype(">f4").tobytes()
    return [
        b"".join((_LENGTH(4), scores[4 * index : 4 * index + 4], _json(text)))
        for index, text in enumerate(details)
    ]


def write(database: Database, target: Target, rows: EncodedRows) -> int:
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


def make_durable(database: Database) -> None:
    """Wait until everything that was committed before is on disk."""
    with database.cursor() as cursor:
        # A commit waits for the log up to its own record, and only if it has written one.
        cursor.execute("SELECT pg_logical_emit_message(true, 'lalafo-rescore', '')")


_LOCK_CONFLICTS = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


def _write(
    cursor: psycopg.Cursor[tuple[object, ...]],
    target: Target,
    rows: EncodedRows,
    *,
    conflicts: bool,
) -> int:
    if _lock_active_releases(cursor, target.release) == target.release:
        return _upsert_guarded(cursor, rows)
    if conflicts:
        return _merge(cursor, rows.columns, _staged(cursor, rows))
    copy_binary(cursor, f"lalafo.{target.partition}", rows.columns, rows.data)
    return cursor.rowcount


def _lock_active_releases(cursor: psycopg.Cursor[tuple[object, ...]], scored: str) -> object:
    """Return the live release, locked until the transaction ends; None if there is none.

    Sets how long this transaction waits for locks, and that its commit does not wait for the disk
    unless `scored`, the release of the predictions, is live.
    """
    cursor.execute(
        "SELECT live, set_config('lock_timeout', %s, true), set_config('synchronous_commit', "
        "CASE live WHEN %s THEN current_setting('synchronous_commit') ELSE 'off' END, true) "
        "FROM lalafo.active_releases FOR SHARE OF active_releases",
        (str(LOCK_TIMEOUT_MS), scored),
    )
    row = cursor.fetchone()
    return None if row is None else row[0]


def _staged(cursor: psycopg.Cursor[tuple[object, ...]], rows: EncodedRows) -> str:
    return staged_binary(cursor, tables.predictions, rows.columns, rows.data)


def _upsert_guarded(cursor: psycopg.Cursor[tuple[object, ...]], rows: EncodedRows) -> int:
    source = _staged(cursor, rows)
    # With the lock on the ad's row, a newer event either waits or is visible here. Commits take
    # these locks in the order of the key's text.
    return _merge(
        cursor,
        rows.columns,
        f"{source} JOIN fresh USING (catalog, ad_id, revision)",
        "WITH fresh AS MATERIALIZED (SELECT a.catalog, a.ad_id, a.revision FROM lalafo.ads AS a "
        f"JOIN {source} AS s USING (catalog, ad_id, revision) WHERE a.status = 'scored' "
        "ORDER BY (a.catalog || '/' || a.ad_id) COLLATE \"C\" FOR SHARE OF a) ",
    )


def _merge(
    cursor: psycopg.Cursor[tuple[object, ...]],
    columns: tuple[str, ...],
    source: str,
    before: str = "",
) -> int:
    names = quoted(columns)
    cursor.execute(
        f"{before}INSERT INTO lalafo.predictions AS held ({names}) SELECT {names} FROM {source} "
        'ORDER BY catalog COLLATE "C", ad_id COLLATE "C" '
        f"ON CONFLICT (release, catalog, ad_id, task) DO UPDATE SET {PREDICTION_UPDATES} "
        "WHERE held.revision < EXCLUDED.revision"
    )
    return cursor.rowcount


def _json(text: str) -> bytes:
    return _LENGTH(len(text) + 1) + _JSONB_VERSION + text.encode("ascii")


def _text(value: str) -> bytes:
    data = value.encode()
    return _LENGTH(len(data)) + data
