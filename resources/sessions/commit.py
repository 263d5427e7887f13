"""The transaction that commits a batch: ads, predictions, failures and offsets together.

Owns the checks before a commit (the epoch of every partition, the active releases) and the rule
that a lower or equal revision changes nothing. A replayed batch changes only the offsets. Records
for Kafka are written to the outbox in the same transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from ops.errors import ConfigurationError, LeaseLostError, PhotosGoneError
from ops.events.scored import scored_event
from ops.outcomes import AdOutcome, Batch, CommitResult, OutboxMessage
from ops.session.ports import NO_TRACING, Tracing
from ops.types import AdKey
from resources.catalogue.rows import (
    AD_COLUMNS,
    FAILURE_COLUMNS,
    TIMING_COLUMNS,
    Cursor,
    Days,
    check_releases,
    insert_embeddings,
    insert_photos,
    photo_subject,
    record_orphaned_photos,
    replace_ad_rows,
)
from resources.kafka.record_headers import stored
from resources.postgres import tables
from resources.postgres.database import Database
from resources.postgres.faults import Fault, fault_of
from resources.postgres.row_arrays import Row, as_arrays, insert, quoted, unnested
from resources.sessions.offsets import commit_offsets


@dataclass(frozen=True, slots=True)
class Holder:
    """The session that commits, its topic, and the topic of its announcements."""

    run_id: str
    stream_id: str
    topic: str
    scored_topic: str
    freeze_s: float = 2.0  # the server rolls back a commit whose client is silent for longer


@dataclass(frozen=True, slots=True)
class _Accepted:
    """The ads whose revision was accepted: their days, and those that existed before."""

    days: Mapping[AdKey, date]
    updated: frozenset[AdKey]


class ResultWriter:
    """Writes batches for one holder; not thread-safe."""

    def __init__(self, database: Database, holder: Holder, tracing: Tracing = NO_TRACING) -> None:
        self.database = database
        self.holder = holder
        self._tracing = tracing

    def commit(self, batch: Batch, epochs: Mapping[int, int]) -> CommitResult:
        """Write a batch atomically.

        Args:
            epochs: partition to the epoch of this session's lease, for all partitions of the batch.

        Raises:
            LeaseLostError: the lease of a partition has another epoch.
            ReleaseChangedError: the batch was computed for releases that are no longer the active
                ones.
            PhotosGoneError: a photo that was stored when the batch was loaded has been deleted.
            ConfigurationError: a table or column is missing: the schema is not that of the code.
            RetryableError: the server became unavailable; the same batch can be committed again.
        """
        try:
            with self.database.cursor() as cursor:
                days, messages = self._write(cursor, batch, epochs)
        except psycopg.errors.ForeignKeyViolation as error:
            raise PhotosGoneError(str(error.diag.message_detail)) from error
        except psycopg.Error as error:
            if error.sqlstate is None or fault_of(error) is not Fault.PROGRAM:
                raise  # a value that can't be sent or stored
            raise ConfigurationError(
                f"PostgreSQL refuses a statement of the commit ({error.sqlstate}: "
                f"{error.diag.message_primary}): the tables are not those of this version. "
                "Run `lalafo migrate` of this version"
            ) from error
        return CommitResult(accepted=days, committed_at=datetime.now(UTC), messages=messages)

    def _write(
        self, cursor: Cursor, batch: Batch, epochs: Mapping[int, int]
    ) -> tuple[Days, tuple[OutboxMessage, ...]]:
        self._check_epochs(cursor, {p: epochs[p] for p in batch.partitions})
        check_releases(cursor, batch.releases)
        run_id = self.holder.run_id
        insert_photos(cursor, batch.renditions, run_id)
        insert_embeddings(cursor, batch.embeddings, run_id)
        upserted = self._upsert_ads(cursor, batch.ads)
        days = upserted.days
        accepted = sorted(
            (ad for ad in batch.ads if ad.event.key in days), key=lambda ad: str(ad.event.key)
        )
        removed = replace_ad_rows(cursor, accepted, days, run_id, updated=upserted.updated)
        added = {photo.photo_sha256 for photo in batch.renditions}
        record_orphaned_photos(cursor, removed | added, kept=accepted)
        rows = self._failure_rows(batch, accepted, days)
        insert(cursor, tables.failures, (*FAILURE_COLUMNS, "original_headers"), rows)
        insert(cursor, tables.stage_timings, TIMING_COLUMNS, self._timing_rows(accepted, days))
        messages = self._enqueue(cursor, accepted, batch.releases)
        commit_offsets(
            cursor,
            stream_id=self.holder.stream_id,
            topic=self.holder.topic,
            run_id=self.holder.run_id,
            next_offsets=batch.next_offsets,
            epochs=epochs,
        )
        return days, messages

    def _check_epochs(self, cursor: Cursor, epochs: Mapping[int, int]) -> None:
        """Check the epoch of every lease, and lock the leases until the transaction ends."""
        # A session that freezes inside this transaction would block its successor with its row
        # locks. With this timeout the server ends the transaction of a silent client.
        cursor.execute(
            "SELECT partition, epoch, "
            "set_config('idle_in_transaction_session_timeout', %s, true) "
            "FROM lalafo.leases WHERE stream_id = %s AND topic = %s "
            "AND partition = ANY(%s) ORDER BY partition FOR SHARE OF leases",
            (
                str(int(self.holder.freeze_s * 1000)),
                *(self.holder.stream_id, self.holder.topic, sorted(epochs)),
            ),
        )
        current = {row[0]: row[1] for row in cursor.fetchall()}
        lost = frozenset(p for p, epoch in epochs.items() if current.get(p) != epoch)
        if lost:
            raise LeaseLostError(
                lost,
                f"the leases of partitions {sorted(lost)} of {self.holder.topic} have epochs "
                f"{[current.get(p) for p in sorted(lost)]}, not "
                f"{[epochs[p] for p in sorted(lost)]}: another run acquired them",
            )

    def _upsert_ads(self, cursor: Cursor, ads: Sequence[AdOutcome]) -> _Accepted:
        """Write the ads whose revision is the highest so far, or was requeued for scoring."""
        if not ads:
            return _Accepted({}, frozenset())
        rows = [self._ad_row(ad) for ad in sorted(ads, key=lambda ad: str(ad.event.key))]
        updates = ", ".join(
            f'"{name}" = EXCLUDED."{name}"'
            for name in AD_COLUMNS
            if name not in ("catalog", "ad_id", "day")
        )
        cursor.execute(
            f"INSERT INTO lalafo.ads AS held ({quoted(AD_COLUMNS)}) "
            f"SELECT * FROM {unnested(tables.ads, AD_COLUMNS)} "
            f"ON CONFLICT (catalog, ad_id) DO UPDATE SET {updates}, updated_at = now() "
            "WHERE held.revision < EXCLUDED.revision "
            "OR (held.revision = EXCLUDED.revision AND held.status = 'received') "
            "RETURNING catalog, ad_id, day, xmax <> 0",
            as_arrays(rows),
        )
        rows_written = cursor.fetchall()
        return _Accepted(
            {AdKey(catalog, ad_id): day for catalog, ad_id, day, _ in rows_written},
            frozenset(
                AdKey(catalog, ad_id) for catalog, ad_id, _, updated in rows_written if updated
            ),
        )

    def _ad_row(self, ad: AdOutcome) -> tuple[Any, ...]:
        event, receipt = ad.event, ad.receipt
        return (
            *(event.key.catalog, event.key.ad_id, event.revision, receipt.day, ad.status.value),
            *(event.title, event.description, event.category, event.price, event.currency),
            *(event.event_id, event.occurred_at, receipt.kafka_at, receipt.received_at),
            *(self.holder.stream_id, receipt.topic, receipt.partition, receipt.offset),
            self.holder.run_id,
        )

    def _failure_rows(self, batch: Batch, accepted: Sequence[AdOutcome], days: Days) -> list[Row]:
        stream, run_id = self.holder.stream_id, self.holder.run_id
        rows: list[Row] = []
        for letter in batch.dead_letters:
            at, failure, record = letter.receipt, letter.failure, letter.record
            rows.append(
                (
                    *("event", f"{stream}/{at.topic}/{at.partition}/{at.offset}"),
                    *(failure.reason.value, failure.detail, at.day, None, None, None),
                    *(stream, at.topic, at.partition, at.offset, record.value, record.key, run_id),
                    None if (headers := stored(record.headers)) is None else Jsonb(headers),
                )
            )
        for ad in accepted:
            key, at = ad.event.key, ad.receipt
            rows.extend(
                (
                    *("photo", photo_subject(key, position)),
                    *(photo.failure.reason.value, photo.failure.detail, days[key]),
                    *(key.catalog, key.ad_id, photo.ref.url),
                    *(stream, at.topic, at.partition, at.offset, None, None, run_id),
                    None,
                )
                for position, photo in enumerate(ad.photos)
                if photo.failure is not None
            )
        return sorted(rows, key=lambda row: row[:2])

    def _timing_rows(self, accepted: Sequence[AdOutcome], days: Days) -> list[Row]:
        return [
            (
                *(ad.event.key.catalog, ad.event.key.ad_id, ad.event.revision),
                *(days[ad.event.key], self.holder.run_id),
                *(ad.receipt.kafka_at, ad.receipt.received_at),
                *(ad.times.fetch_ms, ad.times.photos_ms, ad.times.queued_ms),
                *(ad.times.embed_ms, ad.times.predict_ms, ad.receipt.waited_for_session),
            )
            for ad in accepted
        ]

    def _enqueue(
        self, cursor: Cursor, accepted: Sequence[AdOutcome], releases: Sequence[str]
    ) -> tuple[OutboxMessage, ...]:
        """Put an event for `ads.scored` in the outbox for each accepted ad."""
        if not accepted or not releases:
            return ()
        topic, run_id = self.holder.scored_topic, self.holder.run_id
        keys = [str(ad.event.key).encode() for ad in accepted]
        values = [scored_event(ad, live=releases[0], run_id=run_id) for ad in accepted]
        traceparents = self._tracing.announced([ad.receipt.traceparent for ad in accepted])
        cursor.execute(
            "INSERT INTO lalafo.outbox (topic, key, value, traceparent) "
            "SELECT %s, * FROM unnest(%b::bytea[], %b::bytea[], %s::text[]) RETURNING id",
            (topic, keys, values, traceparents),
        )
        ids = [row[0] for row in cursor.fetchall()]
        return tuple(
            OutboxMessage(id_, topic, key, value, traceparent)
            for id_, key, value, traceparent in zip(ids, keys, values, traceparents, strict=True)
        )
