"""Query dead letters in PostgreSQL (`lalafo.failures`) and replay them to the topic `ads`.

A replay publishes the original bytes under the original key, with the original headers, and marks
the row after the broker has acknowledged the record. It repairs nothing: fix the cause of the
failure first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from ops.errors import ConfigurationError, RetryableError
from resources.kafka.delivery import Outgoing, publish_acknowledged
from resources.kafka.record_headers import Headers, restored, sendable
from resources.kafka.topics import StreamPublisher
from resources.postgres.database import Database

REPLAY_HEADER = "lalafo-replay-of"
CHUNK_LETTERS = 200
ACKNOWLEDGED_WITHIN_S = 15.0

_COLUMNS = (
    'subject, reason, detail, failed_at, topic, partition, "offset", run_id, replayed_at, '
    "original_key AS key, original AS value, original_headers AS stored_headers"
)
_CHOSEN = (
    "kind = 'event' AND (%(reason)s::text IS NULL OR reason = %(reason)s) "
    "AND (%(since)s::timestamptz IS NULL OR failed_at >= %(since)s) "
    "AND (replayed_at IS NULL OR NOT %(unreplayed)s)"
)


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """One record that was rejected as a whole."""

    subject: str  # stream_id/topic/partition/offset
    reason: str
    detail: str
    failed_at: datetime
    topic: str
    partition: int
    offset: int
    run_id: str
    replayed_at: datetime | None
    key: bytes | None
    value: bytes | None  # None: the record had no value and cannot be replayed
    stored_headers: list[list[Any]] | None

    @property
    def headers(self) -> Headers:
        """The headers of the original record."""
        return restored(self.stored_headers)

    @property
    def replay_headers(self) -> tuple[tuple[str, bytes], ...]:
        """The headers of the replayed record: the original's, and which letter it is.

        If the original was itself a replay, its own mark is replaced.
        """
        kept = tuple(header for header in self.headers if header[0] != REPLAY_HEADER)
        return (*sendable(kept), (REPLAY_HEADER, self.subject.encode()))


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """A filter of dead letters; without any field set it matches all of them."""

    reason: str | None = None
    since: datetime | None = None  # inclusive, UTC
    unreplayed: bool = False  # only those that were never replayed

    @property
    def values(self) -> dict[str, object]:
        """The query parameters."""
        return {"reason": self.reason, "since": self.since, "unreplayed": self.unreplayed}


@dataclass(slots=True)
class Replayed:
    """The result of a replay."""

    sent: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)  # subject, reason


def latest(database: Database, choice: DeadLetterFilter, limit: int) -> list[DeadLetterRecord]:
    """Return the dead letters that failed last, newest first."""
    with database.cursor() as cursor:
        return _letters(
            cursor,
            f"WHERE {_CHOSEN} ORDER BY failed_at DESC, subject LIMIT %(limit)s",
            {**choice.values, "limit": limit},
        )


def counts_by_reason(database: Database, choice: DeadLetterFilter) -> dict[str, int]:
    """Return the number of dead letters by reason, most frequent first."""
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT reason, count(*) FROM lalafo.failures WHERE {_CHOSEN} "
            "GROUP BY reason ORDER BY 2 DESC, 1",
            choice.values,
        )
        return dict(cursor.fetchall())


def find(database: Database, name: str) -> DeadLetterRecord:
    """Return the dead letter with this subject, or with this unique suffix, such as `ads/0/17`.

    Raises:
        ConfigurationError: there is none, or the suffix matches several.
    """
    with database.cursor() as cursor:
        found = _letters(
            cursor,
            "WHERE kind = 'event' AND (subject = %(name)s OR right(subject, length(%(name)s) + 1) "
            "= '/' || %(name)s) ORDER BY subject <> %(name)s, failed_at DESC LIMIT 3",
            {"name": name},
        )
    if not found:
        raise ConfigurationError(
            f"no dead letter {name}: `lalafo dlq list` shows those that are stored (for "
            "LALAFO_KEEP_FAILURES_DAYS)"
        )
    if len(found) > 1 and found[0].subject != name:
        several = ", ".join(letter.subject for letter in found)
        raise ConfigurationError(
            f"{name} matches several dead letters; give the full subject of one: {several}"
        )
    return found[0]


def chosen(database: Database, choice: DeadLetterFilter) -> Iterator[list[DeadLetterRecord]]:
    """Yield all matching dead letters in the order of their failure, CHUNK_LETTERS at a time."""
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT subject FROM lalafo.failures WHERE {_CHOSEN} ORDER BY failed_at, subject",
            choice.values,
        )
        subjects = [subject for (subject,) in cursor.fetchall()]
    for start in range(0, len(subjects), CHUNK_LETTERS):
        with database.cursor() as cursor:
            letters = _letters(
                cursor,
                "WHERE kind = 'event' AND subject = ANY(%(subjects)s) ORDER BY failed_at, subject",
                {"subjects": subjects[start : start + CHUNK_LETTERS]},
            )
        yield letters  # outside the transaction, because the caller may be slow


def replay(
    database: Database, publisher: StreamPublisher, topic: str, letters: Sequence[DeadLetterRecord]
) -> Replayed:
    """Publish the original records again and mark the rows of those that were acknowledged.

    A letter may be published twice, by a repeated call or by a crash between acknowledgement and
    mark. The second one changes nothing, because its revision is not higher.

    Args:
        topic: the destination; the topic `ads`.
        letters: CHUNK_LETTERS at most; the broker has ACKNOWLEDGED_WITHIN_S to acknowledge all.

    Raises:
        RetryableError: the broker or PostgreSQL is unavailable. What was acknowledged is marked;
            the same call continues with the rest.
    """
    outcome = Replayed()
    sendable = [letter for letter in letters if letter.value is not None]
    empty = "the record was empty: nothing to send again"
    outcome.refused = [(letter.subject, empty) for letter in letters if letter.value is None]
    answers = publish_acknowledged(
        publisher,
        [Outgoing(topic, it.key, it.value, it.replay_headers) for it in sendable],
        within_s=ACKNOWLEDGED_WITHIN_S,
    )
    results = list(zip(sendable, answers, strict=True))
    acknowledged = [letter.subject for letter, answer in results if answer is None]
    _mark(database, acknowledged)
    outcome.sent = len(acknowledged)
    for letter, answer in results:
        if isinstance(answer, RetryableError):
            raise RetryableError(
                f"{outcome.sent} of {len(letters)} dead letters were replayed and are marked; "
                f"repeat the command for the others: {answer}"
            ) from answer
        if answer is not None:
            outcome.refused.append((letter.subject, str(answer)))
    return outcome


def _mark(database: Database, subjects: list[str]) -> None:
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.failures SET replayed_at = clock_timestamp() "
            "WHERE kind = 'event' AND subject = ANY(%s)",
            (subjects,),
        )


def _letters(
    cursor: psycopg.Cursor[Any], condition: str, values: dict[str, object]
) -> list[DeadLetterRecord]:
    with cursor.connection.cursor(row_factory=class_row(DeadLetterRecord)) as typed:
        typed.execute(f"SELECT {_COLUMNS} FROM lalafo.failures {condition}", values)
        return typed.fetchall()
