"""The gateway's connections to PostgreSQL: a pool for the event loop, and its errors in our words.

psycopg alone: SQLAlchemy would be half of the gateway's start. Decides that a query which runs too
long is ended by the server, so that no caller can hold a connection.
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
    """LALAFO_DATABASE_URL as libpq reads it; ConfigurationError for anything but PostgreSQL."""
    scheme, separator, rest = text.partition("://")
    if separator == "" or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ConfigurationError(
            "LALAFO_DATABASE_URL is no URL of a PostgreSQL; expected postgresql://user@host/database"
        )
    return f"postgresql://{rest}"


class GatewayDatabase:
    """A pool of autocommit connections; `async with` it. Opens in the background: a gateway starts
    while PostgreSQL is away, and says so at `/readyz`.

    Args:
        size: connections at most.
    """

    def __init__(self, url: str, *, size: int) -> None:
        self._url = driver_url(url)
        self._pool = AsyncConnectionPool(
            self._url,
            kwargs={
                "autocommit": True,
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "lalafo-gateway",
                # JSON that the server builds has its moments in the session's time zone; and no
                # query here runs for long enough to be worth compiling.
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
        """A connection in autocommit: a statement is a transaction, `connection.transaction()` is
        one of several.

        Raises:
            RetryableError: the server is away, or every connection stays busy.
        """
        with self.errors():
            async with self._pool.connection() as connection:
                yield connection

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns the driver's connection errors into RetryableError."""
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
        """A connection of the caller's own, without a time limit, to listen on; it closes it."""
        with self.errors():
            return await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="lalafo-gateway-listener",
            )

    def blocking(self) -> "BlockingDatabase":
        """Transactions for a thread of the caller's own."""
        return BlockingDatabase(self._url)

    @property
    def shown(self) -> str:
        """Where it is, for logs; without secrets, and never for callers."""
        parts = urlsplit(self._url)
        return f"PostgreSQL at {parts.hostname or 'its socket'}{parts.path}"


class BlockingDatabase:
    """One connection for one thread, opened again after it was lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    @contextmanager
    def cursor(self) -> Iterator[psycopg.Cursor]:
        """A transaction: committed at the end, rolled back by any error.

        Raises RetryableError where the server is away, or went away meanwhile.
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
        """Let go of the connection; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
