"""PostgreSQL: the engine, its errors in our words, and the migrations.

Decides the driver (psycopg 3) and what an unreachable server means; knows no row.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from ops.errors import ConfigurationError, RetryableError
from resources.postgres.binary_copy import register_halfvec
from resources.postgres.tables import SCHEMA

if TYPE_CHECKING:
    from alembic.config import Config

CONNECT_TIMEOUT_S = 5
MIGRATION_LOCK = 0x1A1AF0
MIGRATION_LOCK_TIMEOUT_MS = 300
MIGRATION_ATTEMPTS = 100
MIGRATIONS = Path(__file__).parent / "migrations"


def parse_url(text: str) -> URL:
    """The URL with our driver named; ConfigurationError for anything but PostgreSQL."""
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigurationError(
            "LALAFO_DATABASE_URL is no database URL; expected postgresql://user@host/database"
        ) from error
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError(
            f"LALAFO_DATABASE_URL names {url.get_backend_name()}; only postgresql is supported"
        )
    return url.set(drivername="postgresql+psycopg")


class Database:
    """A pool of connections to the tables' database. Opens none until one is asked for."""

    def __init__(self, url: str, *, application: str = "lalafo") -> None:
        self.url = parse_url(url)
        self.engine: Engine = sa.create_engine(
            self.url,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": application},
        )
        sa.event.listen(self.engine, "connect", _register_vector)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back by any error.

        Raises:
            RetryableError: the server is away, or went away meanwhile.
        """
        with self.errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def cursor(self) -> Iterator[psycopg.Cursor[Any]]:
        """A transaction through the driver's own cursor, for COPY."""
        with self.begin() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            with driver.cursor() as cursor:
                yield cursor

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns connection errors, SQLAlchemy's or the driver's, into RetryableError."""
        try:
            yield
        except DBAPIError as error:
            if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
                raise self._away(str(error.orig)) from error
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise self._away(str(error)) from error

    def _away(self, reason: str) -> RetryableError:
        first_line = reason.strip().partition("\n")[0]
        return RetryableError(f"PostgreSQL at {self.shown} (LALAFO_DATABASE_URL): {first_line}")

    @property
    def shown(self) -> str:
        """Where it is, without secrets."""
        place = self.url.host or self.url.query.get("host", "localhost")
        return f"{place}/{self.url.database}"

    def check(self) -> None:
        """Raise ConfigurationError unless the server answers; for starts, never for work."""
        try:
            with self.begin() as connection:
                connection.execute(sa.text("SELECT 1"))
        except RetryableError as error:
            raise ConfigurationError(
                f"{error}. Is the server running, and is LALAFO_DATABASE_URL right?"
            ) from error

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema to a revision; safe when several processes do so at once, and while
        sessions write. Raises RetryableError where they never let it have its locks."""
        from alembic import command

        self._migrate(lambda config: command.upgrade(config, revision))

    def downgrade(self, revision: str) -> None:
        """Take migrations back down to a revision ("base": all of them); as `migrate`."""
        from alembic import command

        self._migrate(lambda config: command.downgrade(config, revision))

    def _migrate(self, step: Callable[["Config"], None]) -> None:
        with self._alone():
            for attempt in count(1):
                try:
                    with self.errors(), self._patient() as connection:
                        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
                        connection.commit()
                        step(alembic_config(connection))
                    return
                except RetryableError:
                    if attempt == MIGRATION_ATTEMPTS:
                        raise
                    time.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - not a secret

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who migrates. Asks again and again: an index that is made concurrently
        would wait for whoever waits here, and they for it."""
        engine = sa.create_engine(
            self.url,
            poolclass=sa.NullPool,  # closing the connection ends the lock
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )
        with self.errors(), engine.connect() as connection:
            ask = sa.text(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})")
            while not connection.execute(ask).scalar_one():
                time.sleep(0.1)
            yield

    @contextmanager
    def _patient(self) -> Iterator[Connection]:
        """A connection for migrations: one that waits for a lock gives way to writers before the
        server finds a deadlock and ends one of them (after a second, by default)."""
        options = f"-c lock_timeout={MIGRATION_LOCK_TIMEOUT_MS}"
        engine = sa.create_engine(
            self.url,
            poolclass=sa.NullPool,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": options},
        )
        with engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close every pooled connection; the next use opens anew."""
        self.engine.dispose()


def alembic_config(connection: Connection) -> "Config":
    """Alembic's configuration for our migrations over an open connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _register_vector(connection: object, _record: object) -> None:
    assert isinstance(connection, psycopg.Connection)
    register_halfvec(connection)
    connection.rollback()
