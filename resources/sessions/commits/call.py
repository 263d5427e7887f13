"""The call of `lalafo.commit_batch`: its SQL, and its arguments from a batch.

A column of a table is one array, named after the column with the table's name in the singular
before it. The rows of a table are sorted by its key, so that two sessions that write the same rows
take their locks in the same order, and can't deadlock.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Table

from ops.events.scored import scored_event
from ops.outcomes import AdOutcome, Batch, PhotoAnswer, PhotoEmbedding
from ops.types import Rendition
from resources.catalogue.rows import (
    EMBEDDING_COLUMNS,
    PHOTO_COLUMNS,
    embedding_row,
    photo_row,
    photo_subject,
    task_subject,
)
from resources.kafka.record_headers import stored
from resources.postgres import tables
from resources.postgres.binary_copy import wire_type
from resources.postgres.row_arrays import Row, as_arrays

_SCALARS = {
    "of_run": "text",
    "of_stream": "text",
    "of_topic": "text",
    "scored_topic": "text",
    "of_releases": "text[]",
    "has_deferred": "boolean",
}
_TABLES: Mapping[str, tuple[Table, tuple[str, ...]]] = {
    "lease": (tables.leases, ("partition", "epoch")),
    "offset": (tables.stream_offsets, ("partition", "next_offset", "epoch")),
    "photo": (tables.photos, PHOTO_COLUMNS[:-1]),
    "embedding": (tables.embeddings, EMBEDDING_COLUMNS[:-1]),
    "ad": (
        tables.ads,
        (
            *("catalog", "ad_id", "revision", "day", "status", "title", "description"),
            *("category", "price", "currency", "event_id", "occurred_at", "kafka_at"),
            *("received_at", "partition", "offset", "attributes", "seller"),
        ),
    ),
    "timing": (
        tables.stage_timings,
        (
            *("fetch_ms", "photos_ms", "queued_ms", "embed_ms", "predict_ms"),
            "waited_for_session",
        ),
    ),
    "message": (tables.outbox, ("key", "value", "traceparent")),
    "ad_photo": (
        tables.ad_photos,
        ("catalog", "ad_id", "position", "url", "sha256", "reason", "revision"),
    ),
    "prediction": (
        tables.predictions,
        ("release", "catalog", "ad_id", "task", "revision", "label", "score", "details"),
    ),
    "photo_prediction": (
        tables.photo_predictions,
        ("release", "sha256", "task", "label", "score", "details"),
    ),
    "failure": (
        tables.failures,
        (
            *("kind", "subject", "reason", "detail", "day", "catalog", "ad_id", "url"),
            *("partition", "offset", "original", "original_key", "original_headers"),
        ),
    ),
}


def _call() -> str:
    arguments = [f"%s::{kind}" for kind in _SCALARS.values()]
    arguments += [
        f"%b::{wire_type(table, name)}[]" for table, columns in _TABLES.values() for name in columns
    ]
    # Not by name: psycopg parses a statement of more than 4,096 characters anew at each call.
    return f"SELECT * FROM lalafo.commit_batch({', '.join(arguments)})"


CALL = _call()
"""The statement; its parameters are the values of `call_arguments`, in their order. It returns the
accepted ads: catalog, ad_id, day, and the id of the message in the outbox."""


def call_arguments(
    batch: Batch,
    epochs: Mapping[int, int],
    traceparents: Sequence[str | None],
    *,
    run_id: str,
    stream_id: str,
    topic: str,
    scored_topic: str,
) -> dict[str, Any]:
    """Return the statement's parameters by name, in its order.

    Args:
        epochs: partition to the epoch of this session's lease, for all partitions of the batch.
        traceparents: of the announcement of each ad of the batch, in its order.
    """
    traced = sorted(
        zip(batch.ads, traceparents, strict=True),
        key=lambda pair: (pair[0].event.key.catalog, pair[0].event.key.ad_id),
    )
    ads = [ad for ad, _ in traced]
    rows: dict[str, list[Row]] = {
        "lease": [(partition, epochs[partition]) for partition in sorted(batch.partitions)],
        "offset": [(p, offset, epochs[p]) for p, offset in sorted(batch.next_offsets.items())],
        "photo": _photo_rows(batch.renditions),
        "embedding": _embedding_rows(batch.embeddings),
        "ad": [_ad_row(ad) for ad in ads],
        "timing": [_timing_row(ad) for ad in ads],
        "message": [
            _message_row(ad, traceparent, batch.releases, run_id) for ad, traceparent in traced
        ],
        "ad_photo": [row for ad in ads for row in _ad_photo_rows(ad)],
        "prediction": [row for ad in ads for row in _prediction_rows(ad)],
        "photo_prediction": _photo_prediction_rows(batch.photo_answers),
        "failure": [
            *_letter_rows(batch, stream_id),
            *(row for ad in ads for row in _photo_failure_rows(ad)),
            *(row for ad in ads for row in _task_failure_rows(ad)),
        ],
    }
    arguments: dict[str, Any] = {
        "of_run": run_id,
        "of_stream": stream_id,
        "of_topic": topic,
        "scored_topic": scored_topic,
        "of_releases": list(batch.releases),
        "has_deferred": batch.has_deferred,
    }
    for prefix, (_, columns) in _TABLES.items():
        of_table = rows[prefix]
        arrays = as_arrays(of_table) if of_table else [[]] * len(columns)
        for name, values in zip(columns, arrays, strict=True):
            arguments[f"{prefix}_{name}"] = values
    return arguments


def _photo_rows(renditions: Iterable[Rendition]) -> list[Row]:
    return [photo_row(photo) for photo in sorted(renditions, key=lambda one: one.photo_sha256)]


def _embedding_rows(embeddings: Iterable[PhotoEmbedding]) -> list[Row]:
    return [
        embedding_row(item)
        for item in sorted(embeddings, key=lambda one: (one.backbone, one.sha256))
    ]


def _photo_prediction_rows(answers: Iterable[PhotoAnswer]) -> list[Row]:
    return [
        (it.release, it.sha256, it.answer.task, it.answer.label, it.answer.score, details)
        for it in sorted(answers, key=lambda it: (it.sha256, it.release, it.answer.task))
        for details in (Jsonb(it.answer.details),)
    ]


def _ad_row(ad: AdOutcome) -> Row:
    event, receipt = ad.event, ad.receipt
    return (
        *(event.key.catalog, event.key.ad_id, event.revision, receipt.day, ad.status.value),
        *(event.title, event.description, event.category, event.price, event.currency),
        *(event.event_id, event.occurred_at, receipt.kafka_at, receipt.received_at),
        *(receipt.partition, receipt.offset),
        Jsonb(dict(event.attributes)) if event.attributes else None,
        event.seller,
    )


def _timing_row(ad: AdOutcome) -> Row:
    times = ad.times
    return (
        *(times.fetch_ms, times.photos_ms, times.queued_ms, times.embed_ms, times.predict_ms),
        ad.receipt.waited_for_session,
    )


def _message_row(
    ad: AdOutcome, traceparent: str | None, releases: Sequence[str], run_id: str
) -> Row:
    """The announcement of an ad; without an active release there is none."""
    if not releases:
        return (None, None, None)
    value = scored_event(ad, live=releases[0], run_id=run_id)
    return str(ad.event.key).encode(), value, traceparent


def _ad_photo_rows(ad: AdOutcome) -> Iterator[Row]:
    key = ad.event.key
    for position, photo in enumerate(ad.photos):
        reason = None if photo.failure is None else photo.failure.reason.value
        yield (
            *(key.catalog, key.ad_id, position, photo.ref.url, photo.sha256),
            *(reason, ad.event.revision),
        )


def _prediction_rows(ad: AdOutcome) -> Iterator[Row]:
    key = ad.event.key
    for release, items in ad.predictions.items():
        for item in items:
            yield (
                *(release, key.catalog, key.ad_id, item.task, ad.event.revision),
                *(item.label, item.score, Jsonb(item.details)),
            )


def _letter_rows(batch: Batch, stream_id: str) -> Iterator[Row]:
    for letter in batch.dead_letters:
        at, failure, record = letter.receipt, letter.failure, letter.record
        headers = stored(record.headers)
        yield (
            *("event", f"{stream_id}/{at.topic}/{at.partition}/{at.offset}"),
            *(failure.reason.value, failure.detail, at.day, None, None, None),
            *(at.partition, at.offset, record.value, record.key),
            None if headers is None else Jsonb(headers),
        )


def _photo_failure_rows(ad: AdOutcome) -> Iterator[Row]:
    key, at = ad.event.key, ad.receipt
    for position, photo in enumerate(ad.photos):
        if photo.failure is not None:
            yield (
                *("photo", photo_subject(key, position)),
                *(photo.failure.reason.value, photo.failure.detail, at.day),
                *(key.catalog, key.ad_id, photo.ref.url),
                *(at.partition, at.offset, None, None, None),
            )


def _task_failure_rows(ad: AdOutcome) -> Iterator[Row]:
    key, at = ad.event.key, ad.receipt
    for failed in ad.task_failures:
        yield (
            *("task", task_subject(key, failed.task, failed.release, failed.photo)),
            *(failed.failure.reason.value, failed.failure.detail, at.day),
            *(key.catalog, key.ad_id, None, at.partition, at.offset, None, None, None),
        )
