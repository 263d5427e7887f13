"""Incidents of the topic: rows of the kind `stream` in `failures`, one for each subject."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from ops.errors import Reason
from resources.catalogue.rows import FAILURE_COLUMNS
from resources.postgres.database import Database
from resources.postgres.row_arrays import quoted


class Forgets(Enum):
    """Which committed offsets an incident makes meaningless."""

    NONE = "none"
    PARTITION = "partition"
    FENCED = "fenced"  # of the partition, and its lease
    ALL = "all"  # and all leases, so that no session commits offsets that it read before


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that kept a session from reading every event of the topic."""

    reason: Reason
    subject: str  # the same for the same incident, in every session
    detail: str
    topic: str
    partition: int = 0
    offset: int = 0
    original: bytes | None = None  # what could not be read


def record_incident(
    database: Database, incident: Incident, *, stream_id: str, run_id: str, forgets: Forgets
) -> bool:
    """Write the incident's row, and forget offsets with it; False if the row was there already.

    Then nothing else changes: the session that wrote it has done the rest.
    """
    row = (
        *("stream", incident.subject, incident.reason.value, incident.detail),
        *(datetime.now(UTC).date(), None, None, None, stream_id, incident.topic),
        *(incident.partition, incident.offset, incident.original, None, run_id),
    )
    slots = ", ".join(["%s"] * len(row))
    of_topic = "WHERE stream_id = %s AND topic = %s"
    with database.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO lalafo.failures ({quoted(FAILURE_COLUMNS)}) VALUES ({slots}) "
            "ON CONFLICT (kind, subject) DO NOTHING",
            row,
        )
        if cursor.rowcount == 0:
            return False
        if forgets is Forgets.NONE:
            return True
        of_those = of_topic
        place: list[object] = [stream_id, incident.topic]
        if forgets is not Forgets.ALL:
            of_those += " AND partition = %s"
            place.append(incident.partition)
        if forgets is not Forgets.PARTITION:
            # Sessions that do not know yet must not write their offsets again: their commits are
            # rejected, and they acquire their partitions anew.
            cursor.execute(
                f"UPDATE lalafo.leases SET epoch = epoch + 1, expires_at = clock_timestamp() "
                f"{of_those}",
                place,
            )
        # A commit never moves an offset back, so one past the log's end would block all later ones.
        cursor.execute(f"DELETE FROM lalafo.stream_offsets {of_those}", place)
    return True


def is_recorded(database: Database, subject: str) -> bool:
    """Whether there is a row for this subject."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT FROM lalafo.failures WHERE kind = 'stream' AND subject = %s", (subject,)
        )
        return cursor.fetchone() is not None
