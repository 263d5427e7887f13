"""Writes results as rows, for sessions and assets: columns, order and conflict rules.

Owns the content of each table's rows. Every function sorts by key before it writes, so that two
writers can't deadlock, and does nothing if it is given no results.
"""

from collections.abc import Iterable
from typing import Any

import psycopg

from ops.outcomes import PhotoEmbedding
from ops.types import AdKey, Rendition
from resources.postgres import tables
from resources.postgres.row_arrays import Row, insert

Cursor = psycopg.Cursor[Any]

PHOTO_COLUMNS = (
    *("sha256", "rendition_sha256", "rendition_bytes", "width", "height"),
    *("source_format", "source_width", "source_height", "source_bytes", "note", "run_id"),
)
EMBEDDING_COLUMNS = ("backbone", "sha256", "embedding", "release", "run_id")
PREDICTION_COLUMNS = (
    *("release", "catalog", "ad_id", "task", "revision"),
    *("day", "label", "score", "details", "run_id"),
)
PREDICTION_UPDATES = ", ".join(
    f'"{name}" = EXCLUDED."{name}"'
    for name in (*PREDICTION_COLUMNS[4:], "top_labels", "top_scores", "scored_at")
)
FAILURE_COLUMNS = (
    *("kind", "subject", "reason", "detail", "day", "catalog", "ad_id", "url"),
    *("stream_id", "topic", "partition", "offset", "original"),
    *("original_key", "run_id"),
)


def photo_subject(key: AdKey, position: int) -> str:
    """The key of a photo's row in `failures`."""
    return f"{key}#{position}"


def task_subject(key: AdKey, task: str, release: str, photo: bytes | None = None) -> str:
    """The key of a row in `failures` of a task that failed for an ad, or for a photo of it."""
    subject = f"{key}#{task}@{release}"
    return subject if photo is None else f"{subject}#{photo.hex()}"


def photo_row(photo: Rendition) -> Row:
    """A row of `photos`, in the order of PHOTO_COLUMNS, without its run."""
    return (
        *(photo.photo_sha256, photo.sha256, len(photo.data), photo.width, photo.height),
        *(photo.source_format, photo.source_width, photo.source_height, photo.source_bytes),
        None if photo.note is None else photo.note.value,
    )


def embedding_row(item: PhotoEmbedding) -> Row:
    """A row of `embeddings`, in the order of EMBEDDING_COLUMNS, without its run."""
    return item.backbone, item.sha256, item.vector, item.release


def insert_photos(cursor: Cursor, renditions: Iterable[Rendition], run_id: str) -> None:
    """Insert photos that do not exist yet; a photo never changes."""
    rows = [
        (*photo_row(photo), run_id)
        for photo in sorted(renditions, key=lambda photo: photo.photo_sha256)
    ]
    insert(cursor, tables.photos, PHOTO_COLUMNS, rows)


def insert_embeddings(cursor: Cursor, embeddings: Iterable[PhotoEmbedding], run_id: str) -> None:
    """Insert embeddings that do not exist yet; an embedding never changes."""
    rows = [
        (*embedding_row(item), run_id)
        for item in sorted(embeddings, key=lambda item: (item.backbone, item.sha256))
    ]
    insert(cursor, tables.embeddings, EMBEDDING_COLUMNS, rows)
