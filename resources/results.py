"""The one transaction in which a batch becomes true: rows, predictions, failures and offsets.

Decides what a commit checks first (the epoch of every partition, the release set in force) and
that a lower or equal revision changes nothing. A replayed batch changes no row but the offsets.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops.errors import LeaseLostError
from ops.outcomes import AdOutcome, Batch, CommitResult
from ops.types import AdKey
from resources import tables
from resources.copy_rows import staged
from resources.database import Database
from resources.result_rows import (
    AD_COLUMNS,
    FAILURE_COLUMNS,
    TIMING_COLUMNS,
    Cursor,
    Days,
    Row,
    check_releases,
    insert,
    insert_embeddings,
    insert_photos,
    photo_subject,
    quoted,
    replace_ad_rows,
    write_commit_times,
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who commits: a run, and the epochs under which it holds the partitions of a topic."""

    run_id: str
    stream_id: str
    topic: str
    epochs: Mapping[int, int]  # by partition


class ResultWriter:
    """Writes batches for one holder; not shared between threads."""

    def __init__(self, database: Database, holder: Holder) -> None:
        self.database = database
        self.holder = holder
        self._last: tuple[datetime, tuple[AdOutcome, ...]] | None = None

    def commit(self, batch: Batch) -> CommitResult:
        """Write a batch, all of it or nothing.

        Raises:
            LeaseLostError: a partition of the batch is held under another epoch.
            ReleaseChangedError: the batch was computed for a set that is no longer in force.
            RetryableError: the server went away; the same batch can be committed again.
        """
        with self.database.cursor() as cursor:
            days = self._write(cursor, batch)
            self._write_last(cursor)
        committed_at = datetime.now(UTC)
        written = tuple(ad for ad in batch.ads if ad.event.key in days)
        self._last = (committed_at, written) if written else None
        return CommitResult(accepted=days, committed_at=committed_at)

    def flush(self) -> None:
        """Write the commit times that no later batch has carried; call when the stream rests."""
        if self._last is not None:
            with self.database.cursor() as cursor:
                self._write_last(cursor)
            self._last = None

    def _write_last(self, cursor: Cursor) -> None:
        if self._last is not None:
            write_commit_times(cursor, *self._last)

    def _write(self, cursor: Cursor, batch: Batch) -> Days:
        self._check_epochs(cursor, batch.next_offsets)
        check_releases(cursor, batch.releases)
        run_id = self.holder.run_id
        insert_photos(cursor, batch.renditions, run_id)
        insert_embeddings(cursor, batch.embeddings, run_id)
        days = self._upsert_ads(cursor, batch.ads)
        accepted = sorted(
            (ad for ad in batch.ads if ad.event.key in days), key=lambda ad: str(ad.event.key)
        )
        replace_ad_rows(cursor, accepted, days, run_id)
        insert(cursor, tables.failures, FAILURE_COLUMNS, self._failure_rows(batch, accepted, days))
        insert(
            cursor, tables.stage_timings, TIMING_COLUMNS, self._timing_rows(batch, accepted, days)
        )
        self._advance(cursor, batch.next_offsets)
        return days

    def _check_epochs(self, cursor: Cursor, partitions: Iterable[int]) -> None:
        """Every partition is still ours; the lock keeps it so until the commit."""
        wanted = sorted(partitions)
        cursor.execute(
            "SELECT partition, epoch FROM lalafo.leases WHERE stream_id = %s AND topic = %s "
            "AND partition = ANY(%s) ORDER BY partition FOR SHARE",
            (self.holder.stream_id, self.holder.topic, wanted),
        )
        held = dict(cursor.fetchall())
        for partition in wanted:
            ours = self.holder.epochs[partition]
            if held.get(partition) != ours:
                raise LeaseLostError(
                    f"partition {partition} of {self.holder.topic} is held under epoch "
                    f"{held.get(partition)}, not {ours}: another run took it over"
                )

    def _upsert_ads(self, cursor: Cursor, ads: Sequence[AdOutcome]) -> Days:
        """The ads whose revision is the highest seen, each with the day that it belongs to."""
        if not ads:
            return {}
        rows = [self._ad_row(ad) for ad in sorted(ads, key=lambda ad: str(ad.event.key))]
        source = staged(cursor, tables.ads, AD_COLUMNS, rows)
        names = quoted(AD_COLUMNS)
        updates = ", ".join(
            f'"{name}" = EXCLUDED."{name}"'
            for name in AD_COLUMNS
            if name not in ("catalog", "ad_id", "day")
        )
        cursor.execute(
            f"INSERT INTO lalafo.ads AS held ({names}) SELECT {names} FROM {source} "
            f"ON CONFLICT (catalog, ad_id) DO UPDATE SET {updates}, updated_at = now() "
            "WHERE held.revision < EXCLUDED.revision RETURNING catalog, ad_id, day"
        )
        return {AdKey(catalog, ad_id): day for catalog, ad_id, day in cursor.fetchall()}

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
            at, why = letter.receipt, letter.failure
            rows.append(
                (
                    *("event", f"{stream}/{at.topic}/{at.partition}/{at.offset}"),
                    *(why.reason.value, why.detail, at.day, None, None, None),
                    *(stream, at.topic, at.partition, at.offset, letter.record.value, run_id),
                )
            )
        for ad in accepted:
            key, at = ad.event.key, ad.receipt
            rows.extend(
                (
                    *("photo", photo_subject(key, position)),
                    *(photo.failure.reason.value, photo.failure.detail, days[key]),
                    *(key.catalog, key.ad_id, photo.ref.url),
                    *(stream, at.topic, at.partition, at.offset, None, run_id),
                )
                for position, photo in enumerate(ad.photos)
                if photo.failure is not None
            )
        return rows

    def _timing_rows(self, batch: Batch, accepted: Sequence[AdOutcome], days: Days) -> list[Row]:
        times = batch.times
        return [
            (
                *(ad.event.key.catalog, ad.event.key.ad_id, ad.event.revision),
                *(days[ad.event.key], self.holder.run_id),
                *(ad.receipt.kafka_at, ad.receipt.received_at),
                *(times.photos_ms, times.embed_ms, times.predict_ms),
            )
            for ad in accepted
        ]

    def _advance(self, cursor: Cursor, next_offsets: Mapping[int, int]) -> None:
        """Move the committed offsets forward, never back."""
        for partition, offset in sorted(next_offsets.items()):
            cursor.execute(
                "INSERT INTO lalafo.stream_offsets AS held "
                "(stream_id, topic, partition, next_offset, epoch, run_id) "
                "VALUES (%s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (stream_id, topic, partition) DO UPDATE SET "
                "next_offset = EXCLUDED.next_offset, epoch = EXCLUDED.epoch, "
                "run_id = EXCLUDED.run_id, updated_at = now() "
                "WHERE held.next_offset < EXCLUDED.next_offset",
                (
                    *(self.holder.stream_id, self.holder.topic, partition, offset),
                    *(self.holder.epochs[partition], self.holder.run_id),
                ),
            )
