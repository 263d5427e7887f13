"""Writes results as rows, for sessions and assets: columns, order and conflict rules.

Owns the content of each table's rows. Every function sorts by key before it writes, so that two
writers can't deadlock, and does nothing if it is given no results.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from ops.errors import ReleaseChangedError
from ops.outcomes import AdOutcome, PhotoEmbedding
from ops.types import AdEvent, AdKey, Prediction, Rendition
from resources.postgres import tables
from resources.postgres.row_arrays import Row, as_arrays, insert, quoted, unnested

Cursor = psycopg.Cursor[Any]
Days = Mapping[AdKey, date]

AD_COLUMNS = (
    *("catalog", "ad_id", "revision", "day", "status", "title", "description", "category"),
    *("price", "currency", "event_id", "occurred_at", "kafka_at", "received_at"),
    *("stream_id", "topic", "partition", "offset", "run_id"),
)
PHOTO_COLUMNS = (
    *("sha256", "rendition_sha256", "rendition_bytes", "width", "height"),
    *("source_format", "source_width", "source_height", "source_bytes", "note", "run_id"),
)
EMBEDDING_COLUMNS = ("backbone", "sha256", "embedding", "release", "run_id")
AD_PHOTO_COLUMNS = ("catalog", "ad_id", "position", "url", "sha256", "reason", "revision", "run_id")
PREDICTION_COLUMNS = (
    *("release", "catalog", "ad_id", "task", "revision"),
    *("day", "label", "score", "details", "run_id"),
)
PREDICTION_UPDATES = ", ".join(
    f'"{name}" = EXCLUDED."{name}"' for name in (*PREDICTION_COLUMNS[4:], "scored_at")
)
FAILURE_COLUMNS = (
    *("kind", "subject", "reason", "detail", "day", "catalog", "ad_id", "url"),
    *("stream_id", "topic", "partition", "offset", "original"),
    *("original_key", "run_id"),
)
TIMING_COLUMNS = (
    *("catalog", "ad_id", "revision", "day", "run_id", "kafka_at", "polled_at"),
    *("fetch_ms", "photos_ms", "queued_ms", "embed_ms", "predict_ms", "waited_for_session"),
)


def photo_subject(key: AdKey, position: int) -> str:
    """The key of a photo's row in `failures`."""
    return f"{key}#{position}"


def check_releases(cursor: Cursor, computed_for: Sequence[str]) -> None:
    """Require that the active releases are those of the batch; a shared lock keeps them so.

    Raises:
        ReleaseChangedError: they are not.
    """
    cursor.execute("SELECT live, candidate, previous FROM lalafo.active_releases FOR SHARE")
    row = cursor.fetchone()
    active = () if row is None else tuple(name for name in row if name is not None)
    if active != tuple(computed_for):
        raise ReleaseChangedError(
            f"active releases are {list(active)}, the batch was computed for {list(computed_for)}"
        )


def insert_photos(cursor: Cursor, renditions: Iterable[Rendition], run_id: str) -> None:
    """Insert photos that do not exist yet; a photo never changes."""
    rows = [
        (
            *(photo.photo_sha256, photo.sha256, len(photo.data), photo.width, photo.height),
            *(photo.source_format, photo.source_width, photo.source_height, photo.source_bytes),
            *(None if photo.note is None else photo.note.value, run_id),
        )
        for photo in sorted(renditions, key=lambda photo: photo.photo_sha256)
    ]
    insert(cursor, tables.photos, PHOTO_COLUMNS, rows)


def insert_embeddings(cursor: Cursor, embeddings: Iterable[PhotoEmbedding], run_id: str) -> None:
    """Insert embeddings that do not exist yet; an embedding never changes."""
    rows = [
        (item.backbone, item.sha256, item.vector, item.release, run_id)
        for item in sorted(embeddings, key=lambda item: (item.backbone, item.sha256))
    ]
    insert(cursor, tables.embeddings, EMBEDDING_COLUMNS, rows)


def replace_ad_rows(
    cursor: Cursor,
    ads: Sequence[AdOutcome],
    days: Days,
    run_id: str,
    *,
    updated: Collection[AdKey],
) -> set[bytes]:
    """Replace the photos and predictions of the ads' last revisions by those of the new ones.

    Args:
        updated: those of the ads that existed before.

    Returns: the photos that lost a reference; they may have another reference, or a new one.
    """
    keys = [ad.event.key for ad in ads if ad.event.key in updated]
    unreferenced: set[bytes] = set()
    if keys:
        unreferenced = delete_photos_of_ads(cursor, keys)
        for table in ("predictions", "failures"):
            delete_of_ads(cursor, table, keys)
    insert(cursor, tables.ad_photos, AD_PHOTO_COLUMNS, _ad_photo_rows(ads, run_id))
    rows = [
        prediction_row(release, ad.event.key, ad.event.revision, days[ad.event.key], item, run_id)
        for ad in ads
        for release, items in ad.predictions.items()
        for item in items
    ]
    _put_predictions(cursor, sorted(rows, key=lambda row: row[:4]))
    return unreferenced


def _put_predictions(cursor: Cursor, rows: Sequence[Row]) -> None:
    """Write predictions; those of an older revision, as from a re-score, are overwritten."""
    if rows:
        cursor.execute(
            f"INSERT INTO lalafo.predictions AS held ({quoted(PREDICTION_COLUMNS)}) "
            f"SELECT * FROM {unnested(tables.predictions, PREDICTION_COLUMNS)} "
            f"ON CONFLICT (release, catalog, ad_id, task) DO UPDATE SET {PREDICTION_UPDATES} "
            "WHERE held.revision < EXCLUDED.revision",
            as_arrays(rows),
        )


def record_orphaned_photos(
    cursor: Cursor, photos: Collection[bytes], *, kept: Sequence[AdOutcome]
) -> None:
    """Record the photos that these ads do not refer to, for upkeep to check other references."""
    referenced = {photo.sha256 for ad in kept for photo in ad.photos}
    orphaned = sorted(set(photos) - referenced)
    if orphaned:
        cursor.execute(
            "INSERT INTO lalafo.orphaned_photos (sha256) SELECT * FROM unnest(%b::bytea[]) "
            "ON CONFLICT (sha256) DO UPDATE SET since = now()",
            (orphaned,),
        )


def delete_photos_of_ads(cursor: Cursor, keys: Sequence[AdKey]) -> set[bytes]:
    """Delete the photo references of these ads; return the photos that they referred to."""
    cursor.execute(
        "DELETE FROM lalafo.ad_photos AS held USING unnest(%s::text[], %s::text[]) "
        "AS gone (catalog, ad_id) "
        "WHERE held.catalog = gone.catalog AND held.ad_id = gone.ad_id RETURNING held.sha256",
        ([key.catalog for key in keys], [key.ad_id for key in keys]),
    )
    return {row[0] for row in cursor.fetchall() if row[0] is not None}


def delete_of_ads(cursor: Cursor, table: str, keys: Sequence[AdKey]) -> None:
    """Delete all rows of these ads from a table that is keyed by ad."""
    cursor.execute(
        f"DELETE FROM lalafo.{table} AS held USING unnest(%s::text[], %s::text[]) "
        "AS gone (catalog, ad_id) "
        "WHERE held.catalog = gone.catalog AND held.ad_id = gone.ad_id",
        ([key.catalog for key in keys], [key.ad_id for key in keys]),
    )


def prediction_row(
    release: str, key: AdKey, revision: int, day: date, item: Prediction, run_id: str
) -> Row:
    """A row of `predictions`, in the order of PREDICTION_COLUMNS."""
    return (
        *(release, key.catalog, key.ad_id, item.task, revision),
        *(day, item.label, item.score, Jsonb(item.details), run_id),
    )


def write_commit_times(cursor: Cursor, seen: Sequence[tuple[AdEvent, datetime]]) -> None:
    """Write when each ad's commit was observed: it is not known within the commit."""
    cursor.execute(
        "UPDATE lalafo.stage_timings AS held SET committed_at = seen.at "
        "FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::timestamptz[]) "
        "AS seen (catalog, ad_id, revision, at) "
        "WHERE held.catalog = seen.catalog AND held.ad_id = seen.ad_id "
        "AND held.revision = seen.revision AND held.committed_at IS NULL",
        (
            [event.key.catalog for event, _ in seen],
            [event.key.ad_id for event, _ in seen],
            [event.revision for event, _ in seen],
            [at for _, at in seen],
        ),
    )


def _ad_photo_rows(ads: Sequence[AdOutcome], run_id: str) -> list[Row]:
    return [
        (
            *(ad.event.key.catalog, ad.event.key.ad_id, position, photo.ref.url, photo.sha256),
            None if photo.failure is None else photo.failure.reason.value,
            *(ad.event.revision, run_id),
        )
        for ad in ads
        for position, photo in enumerate(ad.photos)
    ]
