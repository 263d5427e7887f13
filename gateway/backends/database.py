"""The gateway's PostgreSQL connections: a pool for the event loop, and one for a thread.

Converts the driver's connection errors to RetryableError. A statement timeout makes the server
cancel long queries, so that no caller can block a connection. Uses psycopg directly: importing
SQLAlchemy would double the gateway's start time.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ops.errors import ConfigurationError, RetryableError

STATEMENT_TIMEOUT_S = 5
CONNECT_TIMEOUT_S = 5
POOL_TIMEOUT_S = 3.0


def driver_url(text: str) -> str:
    """Convert LALAFO_DATABASE_URL to a URL for libpq: without SQLAlchemy's driver name.

    Raises:
        ConfigurationError: it is not a PostgreSQL URL.
    """
    scheme, separator, rest = text.partition("://")
    if separator == "" or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ConfigurationError(
            "LALAFO_DATABASE_URL is not a PostgreSQL URL; expected postgresql://user@host/database"
        )
    return f"postgresql://{rest}"


class GatewayDatabase:
    """A pool of autocommit connections. Use with `async with`.

    The pool opens in the background: a gateway also starts while PostgreSQL is unavailable, and
    reports it at `/readyz`.

    Args:
        size: the maximum number of connections.
    """

    def __init__(self, url: str, *, size: int) -> None:
        self._url = driver_url(url)
        self._pool = AsyncConnectionPool(
            self._url,
            kwargs={
                "autocommit": True,
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "lalafo-gateway",
                # The server writes timestamps in JSON in the session's time zone. JIT: no query
                # here runs long enough for compilation to pay off.
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_S * 1000} "
                "-c timezone=UTC -c jit=off",
            },
            min_size=min(2, size),
            max_size=size,
            timeout=POOL_TIMEOUT_S,
            open=False,
        )

    async def __aenter__(self) -> "GatewayDatabase":
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """A connection in autocommit mode: each statement is its own transaction.

        Use `connection.transaction()` for a transaction of several statements.

        Raises:
            RetryableError: the server is unavailable, or no connection became free in time.
        """
        with self.errors():
            async with self._pool.connection() as connection:
                yield connection

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Convert the driver's connection errors to RetryableError."""
        try:
            yield
        except PoolTimeout as error:
            raise RetryableError(
                f"{self.shown}: no connection within {POOL_TIMEOUT_S} s"
            ) from error
        except psycopg.errors.QueryCanceled as error:
            raise RetryableError(
                f"{self.shown}: a query took longer than {STATEMENT_TIMEOUT_S} s"
            ) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise RetryableError(f"{self.shown}: {first_line}") from error

    async def listener(self) -> psycopg.AsyncConnection:
        """Open a connection for LISTEN, without a statement timeout; the caller closes it."""
        with self.errors():
            return await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="lalafo-gateway-listener",
            )

    def blocking(self) -> "BlockingDatabase":
        """Open a blocking connection for one thread of the caller."""
        return BlockingDatabase(self._url)

    @property
    def shown(self) -> str:
        """The server's host and database for log messages: no secrets, but not for responses."""
        parts = urlsplit(self._url)
        return f"PostgreSQL at {parts.hostname or 'its socket'}{parts.path}"


class BlockingDatabase:
    """One connection for one thread, opened again after it is lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    @contextmanager
    def cursor(self) -> Iterator[psycopg.Cursor]:
        """A transaction: committed at the end, rolled back on any error.

        Raises:
            RetryableError: the server is unavailable, or the connection was lost.
        """
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(
                    self._url,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    application_name="lalafo-gateway-relay",
                )
            with self._connection.transaction(), self._connection.cursor() as cursor:
                yield cursor
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self.close()
            raise RetryableError(f"PostgreSQL: {str(error).strip().splitlines()[0]}") from error

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
