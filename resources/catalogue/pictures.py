"""What days look like: pictures of their photos and predictions, made from what is stored.

The stream shows them at a session's end, the assets when they are run; both by this file.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from ops.pictures.previews import bars, confusion_matrix, contact_sheet, histogram
from resources.catalogue.summaries import (
    SCORE_BINS,
    LabelledScores,
    failure_counts,
    readable,
    sample_photos,
)
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore

SAMPLES = 24
MATRIX_LABELS = 40

Pictures = dict[str, bytes]
"""PNG or JPEG by the name that Dagster shows."""


def photo_pictures(
    database: Database, store: PhotoStore, days: Sequence[date], *, release: str, task: str
) -> Pictures:
    """The days' latest photos, each with what a release says of its ad, and why others failed."""
    samples = sample_photos(database, days, limit=SAMPLES, release=release, task=task)
    counts = failure_counts(database, days)
    pictures = {"contact_sheet": contact_sheet(readable(store, samples))}
    if counts.failed:
        pictures["failures"] = bars(counts.by_reason, title="Photos that failed, by reason")
    return pictures


def prediction_pictures(summary: LabelledScores) -> Pictures:
    """Labels, scores and, where sellers filed ads under labels, the confusion matrix."""
    pictures = {
        "labels": bars(summary.labels, title="Ads by label"),
        "scores": histogram(
            [(place + 0.5) / SCORE_BINS for place in range(SCORE_BINS)],
            counts=summary.scores.tolist(),
            title="Score of the label chosen",
            x_label="score",
        ),
    }
    labels, matrix = _matrix(summary)
    if labels:
        pictures["confusion_matrix"] = confusion_matrix(
            matrix, labels, title="Filed under (rows), predicted (columns)"
        )
    return pictures


def _matrix(summary: LabelledScores) -> tuple[list[str], NDArray[np.int64]]:
    """The labels that occur most, and how they were filed and predicted."""
    totals: dict[str, int] = {}
    for (filed, predicted), count in summary.confusion.items():
        for label in {filed, predicted}:
            totals[label] = totals.get(label, 0) + count
    labels = sorted(sorted(totals, key=lambda label: -totals[label])[:MATRIX_LABELS])
    index = {label: position for position, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), np.int64)
    for (filed, predicted), count in summary.confusion.items():
        if filed in index and predicted in index:
            matrix[index[filed], index[predicted]] = count
    return labels, matrix
