"""The commit of a batch: ads, predictions, failures and offsets together, by one statement.

The statement calls the function `lalafo.commit_batch`, which the migrations create: it takes one
round trip, and a session that freezes holds no lock. The function checks the epoch of every
partition and the active releases, and writes nothing of an ad whose revision is lower than the
stored one, or equal. A replayed batch changes only the offsets. Records for Kafka are written to
the outbox in the same transaction.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from ops.errors import (
    ConfigurationError,
    LeaseLostError,
    PhotosGoneError,
    ReleaseChangedError,
)
from ops.outcomes import Batch, CommitResult, OutboxMessage
from ops.session.ports import NO_TRACING, Tracing
from ops.types import AdKey
from resources.postgres.database import Database
from resources.postgres.faults import Fault, fault_of
from resources.sessions.commits.call import CALL, call_arguments

_LEASE_LOST, _RELEASE_CHANGED = "LF001", "LF002"  # SQLSTATEs of the function's own


@dataclass(frozen=True, slots=True)
class Holder:
    """The session that commits, its topic, and the topic of its announcements."""

    run_id: str
    stream_id: str
    topic: str
    scored_topic: str


class ResultWriter:
    """Writes batches for one holder."""

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
            ConfigurationError: a table, a column or the function is missing: the schema is not
                that of the code.
            RetryableError: the server became unavailable; the same batch can be committed again.
        """
        holder = self.holder
        traceparents = self._tracing.announced([ad.receipt.traceparent for ad in batch.ads])
        arguments = call_arguments(
            *(batch, epochs, traceparents),
            run_id=holder.run_id,
            stream_id=holder.stream_id,
            topic=holder.topic,
            scored_topic=holder.scored_topic,
        )
        try:
            with self.database.statement() as cursor:
                cursor.execute(CALL, list(arguments.values()))
                rows = cursor.fetchall()
        except psycopg.Error as error:
            raise self._translated(error, batch, epochs) from error
        committed_at = datetime.now(UTC)
        return CommitResult(
            accepted={AdKey(catalog, ad_id): day for catalog, ad_id, day, _ in rows},
            committed_at=committed_at,
            messages=self._messages(rows, arguments) if batch.releases else (),
        )

    def _messages(
        self, rows: list[tuple[Any, ...]], arguments: Mapping[str, Any]
    ) -> tuple[OutboxMessage, ...]:
        """The messages of the accepted ads, as they were written to the outbox."""
        columns = ("ad_catalog", "ad_ad_id", "message_key", "message_value", "message_traceparent")
        sent = {
            (catalog, ad_id): message
            for catalog, ad_id, *message in zip(*(arguments[c] for c in columns), strict=True)
        }
        return tuple(
            OutboxMessage(id_, self.holder.scored_topic, *sent[catalog, ad_id])
            for catalog, ad_id, _, id_ in rows
        )

    def _translated(
        self, error: psycopg.Error, batch: Batch, epochs: Mapping[int, int]
    ) -> Exception:
        detail = error.diag.message_detail or ""
        if error.sqlstate == _LEASE_LOST:
            held = {int(partition): epoch for partition, epoch in json.loads(detail).items()}
            return self._lease_lost(held, {p: epochs[p] for p in batch.partitions})
        if error.sqlstate == _RELEASE_CHANGED:
            return ReleaseChangedError(
                f"active releases are {json.loads(detail)}, the batch was computed for "
                f"{list(batch.releases)}"
            )
        if isinstance(error, psycopg.errors.ForeignKeyViolation):
            return PhotosGoneError(detail)
        if error.sqlstate is not None and fault_of(error) is Fault.PROGRAM:
            return ConfigurationError(
                f"PostgreSQL refuses the commit ({error.sqlstate}: "
                f"{error.diag.message_primary}): the tables are not those of this version. "
                "Run `lalafo migrate` of this version"
            )
        return error  # a value that can't be sent or stored

    def _lease_lost(self, held: Mapping[int, int], epochs: Mapping[int, int]) -> LeaseLostError:
        lost = frozenset(p for p, epoch in epochs.items() if held.get(p) != epoch)
        return LeaseLostError(
            lost,
            f"the leases of partitions {sorted(lost)} of {self.holder.topic} have epochs "
            f"{[held.get(p) for p in sorted(lost)]}, not {[epochs[p] for p in sorted(lost)]}: "
            "another run acquired them, or PostgreSQL was failed over or restored",
        )
