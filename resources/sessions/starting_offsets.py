"""The starting offsets of a session: the committed offsets, checked against the current log.

A committed offset outside the log is recorded as an incident (a row in `failures` and an error in
the log), and reading continues at the log's beginning. Reading events again is harmless, because an
event whose revision is not higher changes nothing; skipping events would lose them.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import structlog

from ops.errors import Reason
from resources.catalogue.rows import FAILURE_COLUMNS
from resources.kafka.topics import AdStream, OffsetOutOfLog
from resources.postgres.database import Database
from resources.postgres.row_arrays import quoted
from resources.sessions.offsets import read_offsets

log = structlog.get_logger()


def starting_offsets(
    database: Database, stream: AdStream, partitions: Iterable[int], *, run_id: str
) -> dict[int, int]:
    """Return the next offset to read of each partition; the log's first one without a commit."""
    stream_id, topic = stream.stream_id(), stream.config.ads_topic
    committed = read_offsets(database, stream_id, topic)
    beginnings = stream.beginning_offsets()
    positions = {
        partition: committed.get(partition, beginnings[partition])
        for partition in sorted(partitions)
    }
    for incident in stream.outside_log(positions):
        log.error("stream.offset_out_of_log", incident=str(incident), stream_id=stream_id)
        _record_and_reset(database, stream_id, topic, incident, run_id)
        positions[incident.partition] = beginnings[incident.partition]
    return positions


def _record_and_reset(
    database: Database, stream_id: str, topic: str, incident: OffsetOutOfLog, run_id: str
) -> None:
    now = datetime.now(UTC)
    subject = f"{stream_id}/{topic}/{incident.partition}/{incident.offset}@{now.isoformat()}"
    row = (
        *("stream", subject, Reason.STREAM_OFFSET_OUT_OF_LOG.value, str(incident)),
        *(now.date(), None, None, None, stream_id, topic, incident.partition, incident.offset),
        *(None, None, run_id),
    )
    slots = ", ".join(["%s"] * len(row))
    with database.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO lalafo.failures ({quoted(FAILURE_COLUMNS)}) VALUES ({slots})", row
        )
        # A commit never moves an offset back, so a position past the log's end would block all
        # later commits of the offset.
        cursor.execute(
            "DELETE FROM lalafo.stream_offsets WHERE stream_id = %s AND topic = %s "
            "AND partition = %s",
            (stream_id, topic, incident.partition),
        )
