"""The gateway's PostgreSQL connections: a pool for the event loop, and connections for threads.

Converts outages, by `resources/postgres/faults.py`, to RetryableError, and replaces a connection
that was lost or leads to a read-only server. Uses psycopg directly: importing SQLAlchemy would
double the gateway's start time.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from gateway.backends.connections import (
    LIMIT_S,
    BlockingDatabase,
    ConnectionLostError,
    PoolConnection,
    configure,
    is_usable,
    limited,
    translated,
)
from ops.errors import RetryableError
from resources.postgres.connections import OWN_PROCESS_ID, count
from resources.postgres.conninfo import DIRECT_URL_SETTING, URL_SETTING, Conninfo

POOL_TIMEOUT_S = 3.0
RECONNECT_S = 1.0
"""After this time the pool forgets a failed attempt to connect, and the next request begins anew.
Its pauses double, so that a long outage would otherwise last twice as long for the gateway.
"""


class GatewayDatabase:
    """A pool of autocommit connections. Use with `async with`.

    The pool opens in the background: a gateway also starts while PostgreSQL is unavailable, and
    reports it at `/readyz`.

    Args:
        size: the maximum number of connections.
        direct_url: leads to the server past a pooler, for LISTEN; "" if `url` does.

    Raises:
        ConfigurationError: a connection string can't be read.
    """

    def __init__(self, url: str, *, size: int, direct_url: str = "") -> None:
        self._conninfo = Conninfo.parse(url, URL_SETTING)
        self._direct = (
            self._conninfo if direct_url == "" else Conninfo.parse(direct_url, DIRECT_URL_SETTING)
        )

        class OwnConnection(PoolConnection):
            """The class keeps the last error, so each pool has its own."""

        self._connections: type[PoolConnection] = OwnConnection
        self._lost_at = float("-inf")  # monotonic seconds
        self._pool: AsyncConnectionPool[PoolConnection] = AsyncConnectionPool(
            self._conninfo.text("lalafo-gateway"),
            connection_class=self._connections,
            kwargs={"autocommit": True},
            configure=configure,
            min_size=min(2, size),
            max_size=size,
            timeout=POOL_TIMEOUT_S,
            reconnect_timeout=RECONNECT_S,
            open=False,
        )

    async def __aenter__(self) -> "GatewayDatabase":
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(
        self, *, limit_s: float = LIMIT_S, within_s: float = POOL_TIMEOUT_S
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection in autocommit mode: each statement is its own transaction.

        Use `connection.transaction()` for a transaction of several statements. Decorate the caller
        with `repeated_once`, so that a lost connection fails no request.

        Args:
            limit_s: the longest time for all statements together.
            within_s: the longest time to wait for a connection.

        Raises:
            ConnectionLostError: the connection was lost.
            RetryableError: the server is unavailable or too slow, or no connection became free in
                time.
        """
        with self.errors():
            connection = await self._take(within_s)
            try:
                with limited(connection, limit_s):
                    async with connection:
                        yield connection
            except psycopg.Error as error:
                if isinstance(translated(error, ""), ConnectionLostError):
                    self._lost_at = time.monotonic()
                    await connection.close()
                raise
            finally:
                await self._pool.putconn(connection)

    async def _take(self, within_s: float) -> PoolConnection:
        """Take a usable connection from the pool; the pool replaces those that are not.

        After a connection was lost, all that were open then are replaced: most likely they end too,
        or lead to the same read-only server.
        """
        deadline = time.monotonic() + within_s
        while True:
            connection = await self._pool.getconn(timeout=deadline - time.monotonic())
            if connection.opened_at > self._lost_at and await is_usable(connection):
                return connection
            await connection.close()
            await self._pool.putconn(connection)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Convert outages to RetryableError; other errors stay as they are."""
        try:
            yield
        except PoolTimeout as error:
            why = self._connections.last_error or "all connections are in use"
            raise RetryableError(f"{self.shown}: no connection in time; {why}") from error
        except psycopg.Error as error:
            outage = translated(error, self.shown)
            if outage is None:
                raise
            raise outage from error

    async def listener(self) -> psycopg.AsyncConnection[Any] | None:
        """Open a connection for LISTEN, without a statement timeout; the caller closes it.

        Returns:
            None if a pooler is between: notifications do not arrive through it.
        """
        with self.errors():
            connection = await psycopg.AsyncConnection.connect(
                self._direct.text("lalafo-gateway-listener"), autocommit=True
            )
            count(connection)
            try:
                with limited(connection, LIMIT_S):
                    row = await (await connection.execute(OWN_PROCESS_ID)).fetchone()
            except (psycopg.Error, RetryableError):
                await connection.close()
                raise
            if row is not None and row[0] == connection.info.backend_pid:
                return connection
            await connection.close()
            return None

    def blocking(self, *, limit_s: float = LIMIT_S) -> BlockingDatabase:
        """Open a blocking connection for one thread of the caller."""
        return BlockingDatabase(self._conninfo, limit_s=limit_s)

    @property
    def shown(self) -> str:
        """The server's host and database for log messages: no secrets, but not for responses."""
        return f"PostgreSQL at {self._conninfo}"
