"""Summaries of whole days for reports: counts, scores and samples."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from ops.errors import StoredObjectError
from ops.masks.rle import EncodedMask
from ops.tasks import Task
from ops.tasks.contract.answer import answer_of
from ops.types import Prediction
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore

SCORE_BINS = 30


@dataclass(frozen=True, slots=True)
class PhotoCounts:
    """How many photos the days' ads have, and how many failed."""

    photos: int  # referred to by ads
    by_reason: dict[str, int]  # those that failed

    @property
    def failed(self) -> int:
        return sum(self.by_reason.values())


def failure_counts(database: Database, days: Sequence[date]) -> PhotoCounts:
    """Count the photos of the days' ads, and the failed ones by reason."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT ap.reason, count(*) FROM lalafo.ads AS a "
            "JOIN lalafo.ad_photos AS ap USING (catalog, ad_id) "
            "WHERE a.day = ANY(%s) GROUP BY 1",
            (list(days),),
        )
        rows = cursor.fetchall()
    by_reason = {reason: count for reason, count in rows if reason is not None}
    return PhotoCounts(photos=sum(count for _, count in rows), by_reason=by_reason)


def sample_photos(
    database: Database, days: Sequence[date], *, limit: int, release: str = "", task: str = ""
) -> list[tuple[bytes, str]]:
    """(rendition's SHA-256, caption) of the first photos of the days' latest ads.

    The caption is a release's prediction for the ad in a task, else the seller's category.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT p.rendition_sha256, CASE WHEN s.label IS NULL THEN coalesce(a.category, '') "
            "ELSE s.label || ' ' || round(s.score * 100) || '%%' END "
            "FROM lalafo.ads AS a JOIN lalafo.ad_photos AS ap USING (catalog, ad_id) "
            "JOIN lalafo.photos AS p ON p.sha256 = ap.sha256 "
            "LEFT JOIN lalafo.predictions AS s ON s.release = %s AND s.task = %s "
            "AND s.catalog = a.catalog AND s.ad_id = a.ad_id "
            "WHERE a.day = ANY(%s) AND ap.position = 0 "
            "ORDER BY a.updated_at DESC LIMIT %s",
            (release, task, list(days), limit),
        )
        return list(cursor.fetchall())


def sample_masks(
    database: Database, days: Sequence[date], *, limit: int, release: str, task: Task
) -> list[tuple[bytes, EncodedMask, str]]:
    """(rendition's SHA-256, mask, caption) of photos of the days' latest ads, by a task's answers
    to them."""
    mask_of, model = task.mask_of, task.photo_answer
    assert mask_of is not None
    assert model is not None
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT p.rendition_sha256, s.label, s.score::float8, s.details FROM lalafo.ads AS a "
            "JOIN lalafo.ad_photos AS ap USING (catalog, ad_id) "
            "JOIN lalafo.photos AS p ON p.sha256 = ap.sha256 "
            "JOIN lalafo.photo_predictions AS s ON s.sha256 = p.sha256 AND s.release = %s "
            "AND s.task = %s WHERE a.day = ANY(%s) AND ap.position = 0 "
            "ORDER BY a.updated_at DESC LIMIT %s",
            (release, task.name, list(days), limit),
        )
        rows = cursor.fetchall()
    return [
        (
            bytes(rendition),
            mask_of(answer_of(model, Prediction(task.name, label, score, details))),
            f"{label} {100 * score:.0f}%",
        )
        for rendition, label, score, details in rows
    ]


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """A release's predictions for the days' ads in one task."""

    scores: NDArray[np.int64]  # (SCORE_BINS,) ads by the predicted label's score, from 0 to 1
    labels: dict[str, int]  # ads by predicted label
    confusion: dict[tuple[str, str], int]  # (seller's category, predicted), if there is a category

    @property
    def ads(self) -> int:
        """The number of ads with a prediction."""
        return int(self.scores.sum())


def prediction_summary(
    database: Database, days: Sequence[date], *, release: str, task: str
) -> LabelledScores:
    """Scores and labels of the days' ads, with the seller's category if there is one.

    PostgreSQL counts: the size of the result does not grow with the number of ads.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT least(%s, greatest(1, width_bucket(p.score::float8, 0, 1, %s))), p.label, "
            "a.category, count(*) FROM lalafo.ads AS a "
            "JOIN lalafo.predictions AS p USING (catalog, ad_id) "
            "WHERE a.day = ANY(%s) AND p.release = %s AND p.task = %s GROUP BY 1, 2, 3",
            (SCORE_BINS, SCORE_BINS, list(days), release, task),
        )
        rows = cursor.fetchall()
    scores = np.zeros(SCORE_BINS, np.int64)
    labels: dict[str, int] = {}
    confusion: dict[tuple[str, str], int] = {}
    for bucket, label, category, count in rows:
        scores[bucket - 1] += count
        labels[label] = labels.get(label, 0) + count
        if category is not None:
            confusion[category, label] = confusion.get((category, label), 0) + count
    return LabelledScores(scores, labels, confusion)


def readable(store: PhotoStore, samples: Sequence[tuple[bytes, str]]) -> list[tuple[bytes, str]]:
    """The samples' renditions with their captions; photos missing from the store are left out."""
    found: list[tuple[bytes, str]] = []
    for sha256, caption in samples:
        with suppress(StoredObjectError):
            found.append((store.get("renditions", sha256), caption))
    return found
