"""This process's connections to PostgreSQL: opened, counted, and whether a pooler is between.

PgBouncer in transaction mode gives each transaction another backend. LISTEN, advisory locks of a
session and prepared statements do not work through it, and neither do session settings. Does not
depend on SQLAlchemy: the gateway uses it too.
"""

import threading
import weakref
from typing import Any, Protocol

import psycopg

from resources.postgres.conninfo import Conninfo

OWN_PROCESS_ID = "SELECT pg_backend_pid()"


class _Closable(Protocol):
    @property
    def closed(self) -> bool: ...


_opened: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = threading.Lock()


def count(connection: _Closable) -> None:
    """Include a connection in `open_connections` until it is closed."""
    with _lock:
        _opened.add(connection)


def open_connections() -> int:
    """Return how many connections to PostgreSQL this process has open now."""
    with _lock:
        return sum(not connection.closed for connection in _opened)


def connect(conninfo: Conninfo, application: str, **options: Any) -> psycopg.Connection[Any]:
    """Open a connection and count it; it prepares no statements if a pooler is between.

    Raises:
        psycopg.Error: the server is unavailable.
    """
    connection = psycopg.connect(conninfo.text(application), **options)
    count(connection)
    return connection


def through_pooler(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler is between, in one round trip; if so, the connection prepares no statements.

    A pooler answers the log-in with a process id of its own, not with the backend's.
    """
    row = connection.execute(OWN_PROCESS_ID).fetchone()
    if not connection.autocommit:
        connection.rollback()
    pooled = row is None or row[0] != connection.info.backend_pid
    if pooled:
        connection.prepare_threshold = None
    return pooled
