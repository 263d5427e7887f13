"""Deaths of sessions, counted by partition, with the offset at which they died.

A holder that did not release its lease died, or gave it up because it failed. The statement that
acquires the lease anew counts it (`leases.py`). What the counts are for is in
`ops/session/careful.py`.
"""

from collections.abc import Collection
from dataclasses import dataclass

from ops.session.admission import Ownership
from ops.session.ports import CarefulReading
from resources.postgres.database import Database

MEMORY_S = 3_600.0
"""Two deaths at one offset are related if the second comes within this many seconds."""

_OFFSETS = "lalafo.stream_offsets AS o"
_AGAIN = (  # the session died at the offset of the death before
    'held."offset" = EXCLUDED."offset" '
    "AND held.died_at > EXCLUDED.died_at - %(memory_s)s * interval '1 second'"
)
DIED = (
    "INSERT INTO lalafo.session_deaths AS held "
    '(stream_id, topic, partition, "offset", deaths, died_at, attempt_epoch) '
    "SELECT %(stream_id)s, %(topic)s, before.partition, coalesce(o.next_offset, -1), 1, "
    "clock_timestamp(), before.epoch "
    "FROM before JOIN acquired USING (partition) "
    f"LEFT JOIN {_OFFSETS} ON o.stream_id = %(stream_id)s AND o.topic = %(topic)s "
    "AND o.partition = before.partition WHERE NOT before.released "
    'ON CONFLICT (stream_id, topic, partition) DO UPDATE SET "offset" = EXCLUDED."offset", '
    f"died_at = EXCLUDED.died_at, deaths = CASE WHEN {_AGAIN} THEN held.deaths + 1 ELSE 1 END, "
    f"careful_from = CASE WHEN {_AGAIN} AND held.deaths + 1 >= %(deaths)s "
    'THEN EXCLUDED."offset" ELSE held.careful_from END, '
    "attempt_deaths = held.attempt_deaths + CASE WHEN held.attempt_epoch = EXCLUDED.attempt_epoch "
    'AND held.attempt >= EXCLUDED."offset" THEN 1 ELSE 0 END'
)
"""Counts a death for each partition in `acquired` whose lease `before` was not released."""


@dataclass(frozen=True, slots=True)
class SessionDeaths:
    """What is stored about the deaths of a topic's sessions: the port `Quarantine`."""

    database: Database
    stream_id: str
    topic: str

    def read(self, partitions: Collection[int], records: int) -> dict[int, CarefulReading]:
        """Return those of the partitions that must be read carefully, for so many records."""
        with self.database.cursor() as cursor:
            cursor.execute(
                "SELECT d.partition, d.careful_from + %s, d.attempt, d.attempt_deaths "
                f"FROM lalafo.session_deaths AS d LEFT JOIN {_OFFSETS} USING "
                "(stream_id, topic, partition) WHERE d.stream_id = %s AND d.topic = %s "
                "AND d.partition = ANY(%s) AND coalesce(o.next_offset, -1) < d.careful_from + %s",
                (records, self.stream_id, self.topic, list(partitions), records),
            )
            return {row[0]: CarefulReading(*row[1:]) for row in cursor.fetchall()}

    def attempt(self, owner: Ownership, offset: int) -> None:
        """Record that this record alone is in process; durable once it returns.

        Changes nothing if a later owner of the partition has recorded one.
        """
        with self.database.cursor() as cursor:
            cursor.execute(
                "UPDATE lalafo.session_deaths SET attempt = %(offset)s, attempt_epoch = %(epoch)s, "
                "attempt_deaths = CASE WHEN attempt = %(offset)s THEN attempt_deaths ELSE 0 END "
                "WHERE stream_id = %(stream_id)s AND topic = %(topic)s "
                "AND partition = %(partition)s "
                "AND (attempt_epoch IS NULL OR attempt_epoch <= %(epoch)s)",
                {
                    "offset": offset,
                    "epoch": owner.epoch,
                    "stream_id": self.stream_id,
                    "topic": self.topic,
                    "partition": owner.partition,
                },
            )
