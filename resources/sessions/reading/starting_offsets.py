"""The starting offsets of a session: the committed offsets, checked against the current log.

A committed offset outside the log is recorded as an incident (a row in `failures` and an error in
the log), and reading continues at the log's beginning. Reading events again is harmless, because an
event whose revision is not higher changes nothing; skipping events would lose them.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime

import structlog

from ops.errors import Reason, RetryableError
from resources.kafka.topics import AdStream, OffsetOutOfLog
from resources.postgres.database import Database
from resources.sessions.offsets import read_offsets
from resources.sessions.reading.incidents import Forgets, Incident, record_incident

log = structlog.get_logger()


def starting_offsets(
    database: Database,
    stream: AdStream,
    partitions: Collection[int],
    *,
    stream_id: str,
    run_id: str,
    counted: Callable[[Reason], None] = lambda _: None,
) -> dict[int, int]:
    """Return the next offset to read of each partition; the log's first one without a commit.

    All partitions are asked for together: a few requests, however many they are.

    Args:
        counted: called once for each incident.

    Raises:
        RetryableError: Kafka or PostgreSQL is unavailable, or the topic is another log by now.
    """
    topic, current = stream.config.ads_topic, stream.stream_id()
    if current != stream_id:
        raise RetryableError(f"{topic} was created again: it is {current}, not {stream_id}.")
    committed = read_offsets(database, stream_id, topic)
    positions: dict[int, int] = {}
    for partition, (beginning, end) in sorted(stream.bounds(partitions).items()):
        positions[partition] = committed.get(partition, beginning)
        if not beginning <= positions[partition] <= end:
            outside = OffsetOutOfLog(topic, partition, positions[partition], beginning, end)
            record_outside(database, outside, stream_id=stream_id, run_id=run_id)
            counted(Reason.STREAM_OFFSET_OUT_OF_LOG)
            positions[partition] = beginning
    return positions


def record_outside(
    database: Database,
    outside: OffsetOutOfLog,
    *,
    stream_id: str,
    run_id: str,
    forgets: Forgets = Forgets.PARTITION,
) -> None:
    """Record that a position is outside the log, and forget the committed offset."""
    log.error("stream.offset_out_of_log", incident=str(outside), stream_id=stream_id)
    at = f"{outside.topic}/{outside.partition}/{outside.offset}"
    incident = Incident(
        Reason.STREAM_OFFSET_OUT_OF_LOG,
        f"{stream_id}/{at}@{datetime.now(UTC).isoformat()}",
        str(outside),
        *(outside.topic, outside.partition, outside.offset),
    )
    record_incident(database, incident, stream_id=stream_id, run_id=run_id, forgets=forgets)
