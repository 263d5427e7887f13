"""Creates pictures of days, from their stored photos and predictions.

Sessions show them at their end, and assets when they are materialized.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date

import numpy as np
from numpy.typing import NDArray

from ops.errors import StoredObjectError
from ops.masks.rle import EncodedMask
from ops.pictures.masks import with_mask
from ops.pictures.previews import bars, confusion_matrix, contact_sheet, histogram
from ops.tasks import Task
from resources.catalogue.summaries import (
    SCORE_BINS,
    LabelledScores,
    failure_counts,
    readable,
    sample_masks,
    sample_photos,
)
from resources.postgres.database import Database
from resources.releases.mask_diff import MaskPair
from resources.storage.photos import PhotoStore

SAMPLES = 25
MATRIX_LABELS = 40

Pictures = dict[str, bytes]
"""PNG or JPEG bytes, by the name that Dagster shows."""


def photo_pictures(
    database: Database, store: PhotoStore, days: Sequence[date], *, release: str, task: str
) -> Pictures:
    """The days' latest photos with a release's predictions, and the reasons of failed photos."""
    samples = sample_photos(database, days, limit=SAMPLES, release=release, task=task)
    counts = failure_counts(database, days)
    pictures = {"contact_sheet": contact_sheet(readable(store, samples))}
    if counts.failed:
        pictures["failures"] = bars(counts.by_reason, title="Photos that failed, by reason")
    return pictures


def mask_pictures(
    database: Database, store: PhotoStore, days: Sequence[date], *, release: str, task: Task
) -> Pictures:
    """The days' latest photos with a release's masks, for a task that answers masks."""
    if task.mask_of is None:
        return {}
    samples = sample_masks(database, days, limit=SAMPLES, release=release, task=task)
    photos = [(with_mask(data, mask), text) for data, mask, text in _with_photos(store, samples)]
    return {"contact_sheet": contact_sheet(photos)}


def mask_examples(store: PhotoStore, pairs: Sequence[MaskPair], live: str, candidate: str) -> bytes:
    """Photos with the masks of two releases side by side, as a contact sheet."""
    samples = [
        (pair.rendition_sha256, mask, f"{name}\nIoU {pair.iou:.2f}")
        for pair in pairs
        for mask, name in ((pair.live, live), (pair.candidate, candidate))
    ]
    return contact_sheet(
        [(with_mask(data, mask), text) for data, mask, text in _with_photos(store, samples)]
    )


def _with_photos(
    store: PhotoStore, samples: Sequence[tuple[bytes, EncodedMask, str]]
) -> Iterator[tuple[bytes, EncodedMask, str]]:
    """The samples with the bytes of their renditions; those missing from the store are left out."""
    for sha256, mask, caption in samples:
        with suppress(StoredObjectError):
            yield store.get("renditions", sha256), mask, caption


def prediction_pictures(summary: LabelledScores) -> Pictures:
    """Labels, scores and, if ads have a seller's category, the confusion matrix."""
    pictures = {
        "labels": bars(summary.labels, title="Ads by label"),
        "scores": histogram(
            [(place + 0.5) / SCORE_BINS for place in range(SCORE_BINS)],
            counts=summary.scores.tolist(),
            title="Score of the predicted label",
            x_label="score",
        ),
    }
    labels, matrix = _matrix(summary)
    if labels:
        pictures["confusion_matrix"] = confusion_matrix(
            matrix, labels, title="Seller's category (rows), predicted (columns)"
        )
    return pictures


def _matrix(summary: LabelledScores) -> tuple[list[str], NDArray[np.int64]]:
    """The most frequent labels, and their counts by seller's category and prediction."""
    totals: dict[str, int] = {}
    for (category, predicted), count in summary.confusion.items():
        for label in {category, predicted}:
            totals[label] = totals.get(label, 0) + count
    labels = sorted(sorted(totals, key=lambda label: -totals[label])[:MATRIX_LABELS])
    index = {label: position for position, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), np.int64)
    for (category, predicted), count in summary.confusion.items():
        if category in index and predicted in index:
            matrix[index[category], index[predicted]] = count
    return labels, matrix
