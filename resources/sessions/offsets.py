"""Where a session starts to read: the committed offsets, judged against the log as it is.

Decides what a committed offset outside the log means: a loud, counted incident (a row in
`failures`, an error in the log), after which reading goes on from the log's beginning. Re-reading
is harmless, since an event whose revision is not higher changes nothing; skipping would lose.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import structlog

from ops.errors import Reason
from resources.catalogue.rows import FAILURE_COLUMNS
from resources.kafka.topics import AdStream, OffsetOutOfLog
from resources.postgres.database import Database
from resources.postgres.row_arrays import quoted
from resources.sessions.leases import read_offsets

log = structlog.get_logger()


def starting_offsets(
    database: Database, stream: AdStream, partitions: Iterable[int], *, run_id: str
) -> dict[int, int]:
    """The next offset to read of each partition; the log's first where none was committed."""
    stream_id, topic = stream.stream_id(), stream.config.ads_topic
    committed = read_offsets(database, stream_id, topic)
    wanted = sorted(partitions)
    beginnings = stream.beginning_offsets()
    positions = {partition: committed.get(partition, beginnings[partition]) for partition in wanted}
    for incident in stream.outside_log(positions):
        log.error("stream.offset_out_of_log", incident=str(incident), stream_id=stream_id)
        _record(database, stream_id, topic, incident, run_id)
        positions[incident.partition] = beginnings[incident.partition]
    return positions


def _record(
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
        # A position past the log's end would hold later commits back: offsets never move back.
        cursor.execute(
            "DELETE FROM lalafo.stream_offsets WHERE stream_id = %s AND topic = %s "
            "AND partition = %s",
            (stream_id, topic, incident.partition),
        )
