"""The stored answers of tasks of scope photo: read and written by photo, release and task.

Owns that no answer outlives its photo: a row is written under a lock of the photo's row, and the
sweep that deletes a photo deletes its answers.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from ops.outcomes import PhotoAnswer
from ops.scoring.ads import AnsweredBy
from ops.types import SCORE_DIGITS, Prediction
from resources.postgres.database import Database


def read_photo_answers(
    database: Database, sha256s: Sequence[bytes], answered_by: Sequence[AnsweredBy]
) -> dict[bytes, dict[AnsweredBy, Prediction]]:
    """The stored answers for photos, by the photo's SHA-256; no statement if none is asked for."""
    if not answered_by or not sha256s:
        return {}
    with database.statement() as cursor:
        cursor.execute(
            "SELECT sha256, release, task, label, score::float8, details "
            "FROM lalafo.photo_predictions "
            "WHERE sha256 = ANY(%s) AND release = ANY(%s) AND task = ANY(%s)",
            (
                list(sha256s),
                sorted({release for release, _ in answered_by}),
                sorted({task for _, task in answered_by}),
            ),
        )
        found: dict[bytes, dict[AnsweredBy, Prediction]] = {}
        for sha256, release, task, label, score, details in cursor.fetchall():
            row = Prediction(task, label, round(score, SCORE_DIGITS), details)
            found.setdefault(bytes(sha256), {})[release, task] = row
        return found


def insert_photo_answers(
    cursor: psycopg.Cursor[Any], answers: Iterable[PhotoAnswer], run_id: str
) -> None:
    """Insert answers that do not exist yet, of photos that are still stored."""
    rows = sorted(answers, key=lambda item: (item.sha256, item.release, item.answer.task))
    if not rows:
        return
    cursor.execute(
        "INSERT INTO lalafo.photo_predictions (release, sha256, task, label, score, details, "
        "run_id) SELECT new.*, %s FROM (SELECT held.sha256 FROM lalafo.photos AS held "
        "WHERE held.sha256 = ANY(%s) ORDER BY held.sha256 FOR KEY SHARE) AS kept "
        "JOIN unnest(%s::text[], %s::bytea[], %s::text[], %s::text[], %s::real[], %s::jsonb[]) "
        "AS new (release, sha256, task, label, score, details) USING (sha256) "
        "ORDER BY new.sha256, new.release, new.task ON CONFLICT DO NOTHING",
        (
            run_id,
            sorted({item.sha256 for item in rows}),
            [item.release for item in rows],
            [item.sha256 for item in rows],
            [item.answer.task for item in rows],
            [item.answer.label for item in rows],
            [item.answer.score for item in rows],
            [Jsonb(item.answer.details) for item in rows],
        ),
    )
