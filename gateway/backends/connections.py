"""One connection of the gateway: its settings, a limit on how long it is waited for, its faults.

A server that is frozen, or whose machine is gone, sends no error. The limit is therefore kept on
this side: when it has passed, the connection's socket is shut down, which ends any wait on it.
"""

import asyncio
import os
import select
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, ClassVar, ParamSpec, Self, TypeVar

import psycopg

from ops.errors import RetryableError
from resources.postgres import connections
from resources.postgres.conninfo import Conninfo
from resources.postgres.faults import Fault, fault_of, is_of_another_backend, was_executed

STATEMENT_TIMEOUT_S = 5
LIMIT_S = STATEMENT_TIMEOUT_S + 1.0  # of all statements of a request together
PING_WITHIN_S = 0.5

P = ParamSpec("P")
T = TypeVar("T")
AnyConnection = psycopg.AsyncConnection[Any] | psycopg.Connection[Any]

# In one round trip. Session settings would reach other clients of a pooler, so only a backend that
# this connection has to itself gets them; a pooler keeps the time zone for each client.
# The server writes timestamps in JSON in the session's time zone. JIT: no query here runs long
# enough for compilation to pay off.
_CONFIGURE = (
    "SELECT pg_backend_pid(), set_config('TimeZone', 'UTC', false), "
    "CASE WHEN pg_backend_pid() = %s THEN set_config('jit', 'off', false) "
    "|| set_config('statement_timeout', %s, false) END"
)


class ConnectionLostError(RetryableError):
    """The connection was lost, or led to a server that can't be written to; it is replaced.

    Args:
        executed: whether the statement may have been executed nevertheless.
    """

    def __init__(self, detail: str, *, executed: bool) -> None:
        super().__init__(detail)
        self.executed = executed


class PoolConnection(psycopg.AsyncConnection[Any]):
    """A connection of the pool: counted, and ready to use."""

    last_error: ClassVar[str] = ""  # why the last attempt to connect failed
    opened_at: float  # monotonic seconds, before it was opened

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Open a connection; `last_error` is kept for requests that wait for one in vain."""
        opened_at = time.monotonic()
        try:
            connection = await super().connect(conninfo, **options)
        except psycopg.Error as error:
            cls.last_error = first_line(error)
            raise
        cls.last_error = ""
        connection.opened_at = opened_at
        connections.count(connection)
        return connection


async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
    """Set up a new connection; through a pooler it prepares no statements."""
    own = connection.info.backend_pid
    try:
        with limited(connection, LIMIT_S):
            rows = await connection.execute(_CONFIGURE, (own, str(STATEMENT_TIMEOUT_S * 1000)))
            row = await rows.fetchone()
    except (psycopg.Error, RetryableError):
        await connection.close()  # the pool drops it as it is
        raise
    if row is None or row[0] != own:
        connection.prepare_threshold = None


@contextmanager
def limited(connection: AnyConnection, limit_s: float) -> Iterator[None]:
    """End any wait on the connection after a time; works in the event loop and in threads.

    Raises:
        RetryableError: the time has passed.
    """
    fired = threading.Event()

    def end() -> None:
        fired.set()
        shut_down(connection)

    timer: asyncio.TimerHandle | threading.Timer
    if isinstance(connection, psycopg.AsyncConnection):
        timer = asyncio.get_running_loop().call_later(limit_s, end)
    else:
        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
    try:
        yield
    except psycopg.Error as error:
        if fired.is_set():
            raise RetryableError(f"PostgreSQL: no answer within {limit_s:g} s") from error
        raise
    finally:
        timer.cancel()


def shut_down(connection: AnyConnection) -> None:
    """End the connection, and any wait on it; the server is not asked."""
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as doubled,
    ):
        doubled.shutdown(socket.SHUT_RDWR)


def has_unread_data(connection: AnyConnection) -> bool:
    """Whether the server has sent something to an idle connection: most likely, that it ends.

    Costs no round trip.
    """
    try:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return poll.poll(0) != []
    except (OSError, psycopg.Error):
        return True


async def is_usable(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether an idle connection still works. The server is asked only if there is a reason to."""
    if connection.closed:
        return False
    if not has_unread_data(connection):
        return True
    try:
        with limited(connection, PING_WITHIN_S):
            await connection.execute("")
    except (psycopg.Error, RetryableError):
        return False
    return True


def first_line(error: psycopg.Error) -> str:
    """Return the first line of an error's text, for the log."""
    return str(error).strip().partition("\n")[0]


def translated(error: psycopg.Error, shown: str) -> RetryableError | None:
    """Return what an outage is to the caller; None if the error is no outage."""
    lost = is_of_another_backend(error)
    if not lost and fault_of(error) is not Fault.OUTAGE:
        return None
    if isinstance(error, psycopg.errors.QueryCanceled):
        return RetryableError(f"{shown}: a query took longer than {STATEMENT_TIMEOUT_S} s")
    detail = f"{shown}: {first_line(error)}"
    if lost or error.sqlstate is None or error.sqlstate[:3] == "57P":
        return ConnectionLostError(detail, executed=was_executed(error))
    return RetryableError(detail)


def repeated_once(
    *, repeatable: bool
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """A decorator: call a coroutine function once more after it lost its connection.

    Args:
        repeatable: executing it twice is as executing it once, so it is repeated after every lost
            connection. Otherwise only if the lost statement was certainly not executed.
    """

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await function(*args, **kwargs)
            except ConnectionLostError as error:
                if error.executed and not repeatable:
                    raise
            return await function(*args, **kwargs)

        return call

    return decorate


class BlockingDatabase:
    """One connection for one thread, opened again after it is lost.

    Args:
        limit_s: the longest time for one transaction, with the connection that it may need.
    """

    def __init__(self, conninfo: Conninfo, *, limit_s: float = LIMIT_S) -> None:
        self._conninfo = conninfo
        self._limit_s = limit_s
        self._connection: psycopg.Connection[Any] | None = None

    @contextmanager
    def cursor(self) -> Iterator[psycopg.Cursor[Any]]:
        """A transaction: committed at the end, rolled back on any error.

        Raises:
            ConnectionLostError: the connection was lost; the next transaction opens another.
            RetryableError: the server is unavailable.
        """
        try:
            connection = self._connected()
            with (
                limited(connection, self._limit_s),
                connection.transaction(),
                connection.cursor() as cursor,
            ):
                yield cursor
        except psycopg.Error as error:
            outage = translated(error, f"PostgreSQL at {self._conninfo}")
            if outage is None:
                raise
            self.close()
            raise outage from error
        except RetryableError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        connection = self._connection
        if connection is not None and (connection.closed or has_unread_data(connection)):
            self.close()
            connection = None
        if connection is None:
            connection = connections.connect(
                self._conninfo,
                "lalafo-gateway",
                connect_timeout=round(min(5, max(2, self._limit_s))),
            )
            self._connection = connection
            with limited(connection, self._limit_s):
                connections.through_pooler(connection)
        return connection
