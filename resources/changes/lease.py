"""The lease of a worker that follows commits, in the terms of the sessions' leases."""

from dataclasses import dataclass
from typing import Any

import psycopg

from ops.errors import LeaseLostError

PARTITION = 0
"""The only partition of a worker's stream."""

_FENCE = (
    "SELECT FROM lalafo.leases WHERE stream_id = %s AND topic = %s AND partition = %s "
    "AND epoch = %s AND (server IS NULL OR server = lalafo.server()) FOR SHARE"
)


@dataclass(frozen=True, slots=True)
class WorkerLease:
    """What the lease of one kind of worker is called: its stream and its topic."""

    stream: str
    topic: str

    def check(self, cursor: psycopg.Cursor[Any], epoch: int) -> None:
        """Lock the lease until the transaction ends.

        Raises:
            LeaseLostError: another worker has it, under another epoch; or PostgreSQL was failed
                over or restored, and may lack what this worker has written.
        """
        cursor.execute(_FENCE, (self.stream, self.topic, PARTITION, epoch))
        if cursor.rowcount != 1:
            raise LeaseLostError(
                frozenset({PARTITION}),
                f"the lease of {self.topic} has another epoch than {epoch}, or another server",
            )
