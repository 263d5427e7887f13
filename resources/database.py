"""PostgreSQL: the engine, its errors in our words, and the migrations.

Decides the driver (psycopg 3) and what an unreachable server means; knows no row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from ops.errors import ConfigurationError, RetryableError
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
    def errors(self) -> Iterator[None]:
        """Turns the driver's connection errors into RetryableError."""
        try:
            yield
        except DBAPIError as error:
            if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
                raise RetryableError(
                    f"PostgreSQL at {self.shown} (LALAFO_DATABASE_URL): {_first_line(error)}"
                ) from error
            raise

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
    """Teach a connection pgvector's types, so that binary COPY knows halfvec.

    The extension is not there before the first migration; later connections find it.
    """
    import psycopg
    from pgvector.psycopg import register_vector

    assert isinstance(connection, psycopg.Connection)
    try:
        register_vector(connection)
    except psycopg.ProgrammingError as error:
        if "vector type not found" not in str(error):
            raise
    finally:
        connection.rollback()


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
