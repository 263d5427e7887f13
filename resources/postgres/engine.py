"""SQLAlchemy's engines: they connect by libpq's own string, and know their server's errors."""

import time
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from resources.postgres.binary_copy import register_halfvec
from resources.postgres.connections import count, through_pooler
from resources.postgres.conninfo import Conninfo

_POOLED = "lalafo_pooled"  # in the pool's record of a connection: whether a pooler is between
OPENED_AT = "lalafo_opened_at"  # in the same record: when it was opened, in monotonic seconds


def new_engine(conninfo: Conninfo, application: str, **options: Any) -> Engine:
    """Create an engine; it connects on first use, and each connection knows the vector type.

    The engine's own URL is empty: SQLAlchemy would quote and interpret the parameters once more.
    """
    engine = sa.create_engine("postgresql+psycopg://", **options)
    text = conninfo.text(application)

    def connect(_dialect: object, _record: object, _: object, parameters: dict[str, Any]) -> object:
        connection = psycopg.connect(text, **parameters)
        count(connection)
        return connection

    sa.event.listen(engine, "do_connect", connect)
    sa.event.listen(engine, "connect", _prepare)
    return engine


def is_pooled(connection: Connection) -> bool:
    """Whether a pooler is between this process and the server."""
    return bool(connection.info[_POOLED])


def driver_connection(connection: Connection) -> psycopg.Connection[Any]:
    """Return the driver's connection behind SQLAlchemy's."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def driver_error(error: BaseException | None) -> psycopg.Error | None:
    """Return the driver's error behind SQLAlchemy's; None if it is neither."""
    if isinstance(error, DBAPIError):
        error = error.orig
    return error if isinstance(error, psycopg.Error) else None


def _prepare(connection: object, record: Any) -> None:
    assert isinstance(connection, psycopg.Connection)
    try:
        record.info[OPENED_AT] = time.monotonic()
        record.info[_POOLED] = through_pooler(connection)
        register_halfvec(connection)
        connection.rollback()
    except psycopg.Error:
        connection.close()  # SQLAlchemy drops it as it is
        raise
