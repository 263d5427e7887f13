"""PostgreSQL access: the engine's connections, and error translation to LalafoError.

Owns which failures are outages (by `faults.py`) and that a connection which leads to a read-only
server is replaced. Does not depend on the content of the tables.
"""

import re
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, cast

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection

from ops.errors import ConfigurationError, RetryableError
from resources.postgres import schema
from resources.postgres.connections import connect
from resources.postgres.conninfo import DIRECT_URL_SETTING, URL_SETTING, Conninfo
from resources.postgres.engine import OPENED_AT, driver_connection, driver_error, new_engine
from resources.postgres.faults import is_of_another_backend, is_outage
from resources.postgres.schema import MIGRATIONS

if TYPE_CHECKING:  # pydantic takes 0.15 s to import, which a scoring worker has no use for
    from resources.settings import Settings

__all__ = ["MIGRATIONS", "Database"]

KEPT_CONNECTIONS = 5
MAX_CONNECTIONS = 15
POOL_TIMEOUT_S = 10
PING_AFTER_S = 30.0
"""A connection that was unused for longer is asked whether it is alive before it is used again. One
that the server has closed is noticed without asking."""

_USED_AT = "lalafo_used_at"  # in the pool's record of a connection, in monotonic seconds


class Database:
    """A connection pool to the database of the tables; connects on first use.

    Args:
        url: a connection string, in any form of `conninfo.py`; it may lead through a pooler.
        direct_url: leads to the server itself; "" if `url` does.
        connections: the most connections of the pool.
    """

    def __init__(
        self,
        url: str,
        *,
        direct_url: str = "",
        application: str = "lalafo",
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.conninfo = Conninfo.parse(url, URL_SETTING)
        self.direct = (
            self.conninfo if direct_url == "" else Conninfo.parse(direct_url, DIRECT_URL_SETTING)
        )
        kept = min(KEPT_CONNECTIONS, connections)
        self.engine: Engine = new_engine(
            self.conninfo,
            application,
            pool_size=kept,
            max_overflow=connections - kept,
            pool_timeout=POOL_TIMEOUT_S,
        )
        self._replaced_at = float("-inf")  # monotonic seconds
        sa.event.listen(self.engine, "checkout", self._check_out)
        sa.event.listen(self.engine, "checkin", _check_in)

    @classmethod
    def from_settings(cls, settings: "Settings", *, application: str = "lalafo") -> Self:
        """Open the database of the settings.

        Raises:
            ConfigurationError: LALAFO_DATABASE_URL is missing or wrong.
        """
        return cls(
            settings.require("database_url"),
            direct_url=settings.database_direct_url,
            application=application,
            connections=settings.database_connections,
        )

    @property
    def url(self) -> URL:
        """The connection string as SQLAlchemy's URL, for tools that take one."""
        return _sqlalchemy_url(self.conninfo)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction: committed at the end of the block, rolled back after an error.

        Raises:
            RetryableError: the server is unavailable or read-only, or the connection was lost.
        """
        with self.errors(), self.engine.connect() as connection:
            try:
                with connection.begin():
                    yield connection
            except Exception as error:
                self._replace_if_needed(connection, driver_error(error))
                raise

    @contextmanager
    def cursor(self) -> Iterator[psycopg.Cursor[Any]]:
        """Open a transaction and yield the driver's cursor, for COPY and parameters in binary."""
        with self.begin() as connection, driver_connection(connection).cursor() as cursor:
            yield cursor

    @contextmanager
    def statement(self) -> Iterator[psycopg.Cursor[Any]]:
        """Yield the driver's cursor in autocommit mode: each statement commits by itself.

        Such a statement takes one round trip, a transaction of one statement takes three.

        Raises:
            RetryableError: the server is unavailable or read-only, or the connection was lost.
        """
        with self.errors():
            pooled = self.engine.raw_connection()
            try:
                driver = pooled.driver_connection
                assert isinstance(driver, psycopg.Connection)
                driver.autocommit = True
                try:
                    with driver.cursor() as cursor:
                        yield cursor
                finally:
                    if not driver.closed:
                        driver.autocommit = False
            except psycopg.Error as error:
                self._replace_if_needed(pooled, error)
                raise
            finally:
                pooled.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate outages, SQLAlchemy's or the driver's, into RetryableError.

        Other errors stay as they are: a value that can't be stored, or a wrong statement.
        """
        try:
            yield
        except PoolTimeoutError as error:
            raise self._unavailable(f"no connection became free in {POOL_TIMEOUT_S} s") from error
        except (DBAPIError, psycopg.Error) as error:
            reason = driver_error(error)
            if reason is None or not is_outage(reason):
                raise
            raise self._unavailable(str(reason)) from error

    def _replace_if_needed(
        self, connection: Connection | PoolProxiedConnection, error: psycopg.Error | None
    ) -> None:
        """Replace a connection to a server that is read-only, and all that are open now.

        Not by `Engine.dispose`: it drops those that other threads use, without closing them.
        """
        if error is not None and is_of_another_backend(error):
            self._replaced_at = time.monotonic()
            connection.invalidate()

    def _check_out(self, connection: DBAPIConnection, record: Any, _fairy: object) -> None:
        """Refuse a connection that was replaced or is lost; the pool opens another one.

        Never a new one: after two refusals SQLAlchemy reports a misuse, which is no outage.
        """
        used_at = record.info.get(_USED_AT)
        if used_at is None:
            return
        if record.info[OPENED_AT] <= self._replaced_at:
            raise DisconnectionError
        idle_s = time.monotonic() - used_at
        if idle_s > PING_AFTER_S or _is_readable(connection):
            try:
                self.engine.dialect.do_ping(connection)
            except psycopg.Error as error:
                raise DisconnectionError from error

    def _unavailable(self, reason: str) -> RetryableError:
        first_line = reason.strip().partition("\n")[0]
        return RetryableError(f"PostgreSQL at {self.shown} ({URL_SETTING}): {first_line}")

    @property
    def shown(self) -> str:
        """Host and database name, without secrets."""
        return self.conninfo.shown

    def connect_directly(self, application: str) -> psycopg.Connection[Any]:
        """Open a connection of the caller's own, in autocommit mode, past a pooler if possible.

        `connections.through_pooler` says whether it was. The caller closes it.

        Raises:
            RetryableError: the server is unavailable.
        """
        with self.errors():
            return connect(self.direct, application, autocommit=True)

    def check(self) -> None:
        """Raise ConfigurationError unless the server answers; for startup checks only."""
        try:
            with self.begin() as connection:
                connection.execute(sa.text("SELECT 1"))
        except RetryableError as error:
            raise ConfigurationError(
                f"{error}. Check that the server is running and that {URL_SETTING} is correct."
            ) from error

    def migrate(self, revision: str = "head") -> None:
        """Upgrade the schema to a revision.

        Safe when several processes do so at the same time, and while sessions write.

        Raises:
            RetryableError: the server is unavailable, or no attempt got its locks in time.
            ConfigurationError: the connection leads through a pooler, or the user may not create
                what is missing.
        """
        schema.upgrade(self.direct, self.errors, revision)

    def revision(self) -> str | None:
        """The schema's revision; None if there is no schema yet."""
        with self.begin() as connection:
            return schema.current_revision(connection)

    def downgrade(self, revision: str) -> None:
        """Downgrade the schema to a revision ("base": undo all); otherwise as `migrate`."""
        schema.downgrade(self.direct, self.errors, revision)

    def close(self) -> None:
        """Close every pooled connection; the next use opens new ones."""
        self.engine.dispose()


def _check_in(_connection: object, record: Any) -> None:
    record.info[_USED_AT] = time.monotonic()


def _is_readable(connection: DBAPIConnection) -> bool:
    """Whether something has arrived on an idle connection, such as its end."""
    driver = cast(psycopg.Connection[Any], connection)
    if driver.closed:
        return True
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN)
    return poll.poll(0) != []


def _sqlalchemy_url(conninfo: Conninfo) -> URL:
    """What has no place of its own in such a URL stands in its query, as SQLAlchemy expects."""
    rest = dict(conninfo.parameters)
    port = rest.get("port", "")
    single = port.isdecimal() and not set("/,@") & set(rest.get("host", ""))
    # SQLAlchemy writes a database's name as it is, and decodes it when it reads.
    plain_name = re.fullmatch(r"[\w.-]+", rest.get("dbname", "")) is not None
    return URL.create(
        "postgresql+psycopg",
        username=rest.pop("user", None),
        password=rest.pop("password", None),
        host=rest.pop("host", None) if single else None,
        port=int(rest.pop("port")) if port.isdecimal() else None,
        database=rest.pop("dbname", None) if plain_name else None,
        query=rest,
    )
