"""PostgreSQL access: the engine, error translation to LalafoError, and migrations.

Owns the driver (psycopg 3) and the treatment of an unreachable server. Does not depend on the
content of the tables.
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
    """Parse a database URL and set the driver to psycopg.

    Raises:
        ConfigurationError: it is not a URL, or not one of PostgreSQL.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigurationError(
            "LALAFO_DATABASE_URL is not a database URL; expected postgresql://user@host/database"
        ) from error
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError(
            f"LALAFO_DATABASE_URL names {url.get_backend_name()}; only postgresql is supported"
        )
    return url.set(drivername="postgresql+psycopg")


class Database:
    """A connection pool to the database of the tables; connects on first use."""

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
        """Open a transaction: committed at the end of the block, rolled back after an error.

        Raises:
            RetryableError: the server is unavailable, or the connection was lost.
        """
        with self.errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def cursor(self) -> Iterator[psycopg.Cursor[Any]]:
        """Open a transaction and yield the driver's cursor, for COPY and parameters in binary."""
        with self.begin() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            with driver.cursor() as cursor:
                yield cursor

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate connection errors, SQLAlchemy's or the driver's, into RetryableError."""
        try:
            yield
        except DBAPIError as error:
            if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
                raise self._unavailable(str(error.orig)) from error
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise self._unavailable(str(error)) from error

    def _unavailable(self, reason: str) -> RetryableError:
        first_line = reason.strip().partition("\n")[0]
        return RetryableError(f"PostgreSQL at {self.shown} (LALAFO_DATABASE_URL): {first_line}")

    @property
    def shown(self) -> str:
        """Host and database name, without secrets."""
        host = self.url.host or self.url.query.get("host", "localhost")
        return f"{host}/{self.url.database}"

    def check(self) -> None:
        """Raise ConfigurationError unless the server answers; for startup checks only."""
        try:
            with self.begin() as connection:
                connection.execute(sa.text("SELECT 1"))
        except RetryableError as error:
            raise ConfigurationError(
                f"{error}. Check that the server is running and that LALAFO_DATABASE_URL is "
                "correct."
            ) from error

    def migrate(self, revision: str = "head") -> None:
        """Upgrade the schema to a revision.

        Safe when several processes do so at the same time, and while sessions write.

        Raises:
            RetryableError: the server is unavailable, or no attempt got its locks in time.
        """
        from alembic import command

        self._migrate(lambda config: command.upgrade(config, revision))

    def downgrade(self, revision: str) -> None:
        """Downgrade the schema to a revision ("base": undo all); otherwise as `migrate`."""
        from alembic import command

        self._migrate(lambda config: command.downgrade(config, revision))

    def _migrate(self, step: Callable[["Config"], None]) -> None:
        with self._exclusive():
            for attempt in count(1):
                try:
                    with self.errors(), self._migration_connection() as connection:
                        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
                        connection.commit()
                        step(alembic_config(connection))
                    return
                except RetryableError:
                    if attempt == MIGRATION_ATTEMPTS:
                        raise
                    time.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - not a secret

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the advisory lock of migrations while the block runs.

        Polls for the lock. A process that blocked on it would deadlock with CREATE INDEX
        CONCURRENTLY, which waits for all open transactions.
        """
        engine = sa.create_engine(
            self.url,
            poolclass=sa.NullPool,  # closing the connection ends the lock
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )
        with self.errors(), engine.connect() as connection:
            try_lock = sa.text(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})")
            while not connection.execute(try_lock).scalar_one():
                time.sleep(0.1)
            yield

    @contextmanager
    def _migration_connection(self) -> Iterator[Connection]:
        """Open a connection with a lock timeout.

        It is shorter than PostgreSQL's deadlock timeout (a second, by default), so that a migration
        gives up its lock request before the server cancels a writer.
        """
        options = f"-c lock_timeout={MIGRATION_LOCK_TIMEOUT_MS}"
        engine = sa.create_engine(
            self.url,
            poolclass=sa.NullPool,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": options},
        )
        with engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close every pooled connection; the next use opens new ones."""
        self.engine.dispose()


def alembic_config(connection: Connection) -> "Config":
    """Return Alembic's configuration for the migrations over an open connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _register_vector(connection: object, _record: object) -> None:
    assert isinstance(connection, psycopg.Connection)
    register_halfvec(connection)
    connection.rollback()
