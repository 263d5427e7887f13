"""PostgreSQL: the engine, its errors in our words, and the migrations.

Decides the driver (psycopg 3) and what an unreachable server means; knows no row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from ops.errors import ConfigurationError, RetryableError
from resources.copy_rows import register_halfvec
from resources.tables import SCHEMA

if TYPE_CHECKING:
    from alembic.config import Config

CONNECT_TIMEOUT_S = 5
MIGRATION_LOCK = 0x1A1AF0
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
        """Bring the schema to a revision; safe when several processes do so at once."""
        from alembic import command

        with self.begin() as connection:
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            command.upgrade(alembic_config(connection), revision)

    def downgrade(self, revision: str) -> None:
        """Take migrations back down to a revision ("base": all of them)."""
        from alembic import command

        with self.begin() as connection:
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            command.downgrade(alembic_config(connection), revision)

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
