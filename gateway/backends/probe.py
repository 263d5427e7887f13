"""The readiness of PostgreSQL: whether an ad could be accepted now.

A row like those of accepted ads is written to the outbox and taken back. Reading would not notice
a read-only server or a full disk. All callers share the result of one probe a second, because
anyone may ask for the readiness.
"""

import asyncio
import logging
import time
from dataclasses import dataclass

import psycopg

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from ops.errors import RetryableError

TTL_S = 1.0
LIMIT_S = 1.5  # of the statements
CONNECTION_WITHIN_S = 1.0
_ROW_BYTES = 1_920  # four rows fill a page, so a full disk is noticed by the fifth probe

# The row never leaves its transaction, and can't be compressed.
_WRITE = """
    INSERT INTO lalafo.outbox (topic, value)
    SELECT 'lalafo.probe', string_agg(sha256(int4send(n)), '') FROM generate_series(1, %s) AS n"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """`revision`: the schema's; None without tables. `problem`: "" if an ad could be accepted."""

    revision: str | None
    problem: str = ""


class DatabaseProbe:
    """Probes PostgreSQL, at most once a second."""

    def __init__(self, database: GatewayDatabase) -> None:
        self._database = database
        self._probing = asyncio.Lock()
        self._latest: tuple[float, ProbeResult] | None = None

    async def result(self) -> ProbeResult:
        """The result of the last second's probe, or of a new one; it takes 3 s at most."""
        asked_at = time.monotonic()
        async with self._probing:
            if self._latest is None or self._latest[0] + TTL_S < asked_at:
                result = await self._probe()
                self._latest = time.monotonic(), result
            return self._latest[1]

    async def _probe(self) -> ProbeResult:
        try:
            return await self._write()
        except RetryableError as error:
            log.warning("not ready: %s", error)
            return ProbeResult(None, _problem(error))

    @repeated_once(repeatable=True)
    async def _write(self) -> ProbeResult:
        async with self._database.connection(
            limit_s=LIMIT_S, within_s=CONNECTION_WITHIN_S
        ) as connection:
            try:
                rows = await connection.execute("SELECT version_num FROM lalafo.alembic_version")
                row = await rows.fetchone()
                async with connection.transaction(force_rollback=True):
                    await connection.execute(_WRITE, (_ROW_BYTES // 32,))
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return ProbeResult(None)
        return ProbeResult(None if row is None else str(row[0]))


def _problem(error: RetryableError) -> str:
    """What a caller may know of an outage: no address, no text of the server's."""
    match error.__cause__:
        case psycopg.errors.ReadOnlySqlTransaction():
            return "is read-only: it is a standby, or a failover is under way"
        case psycopg.errors.DiskFull():
            return "has no space left on its disk"
        case _:
            return "does not respond"
