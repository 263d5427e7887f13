"""Migrations of the schema, by Alembic, one process at a time and beside sessions that write.

They need a direct connection: an advisory lock that outlives a transaction, and a lock timeout of
the session, do not pass through a pooler.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from psycopg.errors import FeatureNotSupported, InsufficientPrivilege
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from ops.errors import ConfigurationError, RetryableError
from resources.postgres.conninfo import DIRECT_URL_SETTING, Conninfo
from resources.postgres.engine import driver_error, is_pooled, new_engine
from resources.postgres.tables import SCHEMA

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATION_LOCK = 0x1A1AF0
MIGRATION_LOCK_TIMEOUT_MS = 300
MIGRATION_ATTEMPTS = 100
MIGRATIONS = Path(__file__).parent / "migrations"

Errors = Callable[[], AbstractContextManager[None]]


def upgrade(conninfo: Conninfo, errors: Errors, revision: str) -> None:
    """Upgrade the schema to a revision; see `Database.migrate`."""
    from alembic import command

    _migrate(conninfo, errors, lambda config: command.upgrade(config, revision))


def downgrade(conninfo: Conninfo, errors: Errors, revision: str) -> None:
    """Downgrade the schema to a revision; see `Database.downgrade`."""
    from alembic import command

    _migrate(conninfo, errors, lambda config: command.downgrade(config, revision))


def current_revision(connection: Connection) -> str | None:
    """Return the schema's revision; None if it was never migrated."""
    from alembic.migration import MigrationContext

    options = {"version_table_schema": SCHEMA}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _migrate(conninfo: Conninfo, errors: Errors, step: Callable[["Config"], None]) -> None:
    with _refusals(conninfo), errors(), _exclusive(conninfo):
        for attempt in count(1):
            try:
                with errors(), _migration_connection(conninfo) as connection:
                    connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
                    connection.commit()
                    step(_alembic_config(connection))
                return
            except RetryableError:
                if attempt == MIGRATION_ATTEMPTS:
                    raise
                time.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - not a secret


@contextmanager
def _refusals(conninfo: Conninfo) -> Iterator[None]:
    """Translate what PostgreSQL does not let this user create into ConfigurationError."""
    try:
        yield
    except DBAPIError as error:
        reason = driver_error(error)
        if not isinstance(reason, InsufficientPrivilege | FeatureNotSupported):
            raise
        raise ConfigurationError(
            f"{conninfo.shown} refuses the migration: {reason.diag.message_primary}. The user "
            "needs CREATE on the database, and pgvector has to be installed; let a superuser run "
            "`CREATE EXTENSION vector` in this database once"
        ) from error


@contextmanager
def _exclusive(conninfo: Conninfo) -> Iterator[None]:
    """Hold the advisory lock of migrations while the block runs.

    Polls for the lock. A process that blocked on it would deadlock with CREATE INDEX
    CONCURRENTLY, which waits for all open transactions.

    Raises:
        ConfigurationError: a pooler is between.
    """
    engine = new_engine(
        conninfo,
        "lalafo-migration",
        poolclass=sa.NullPool,  # closing the connection ends the lock
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        if is_pooled(connection):
            raise ConfigurationError(
                f"the connection to {conninfo} leads through a pooler, and migrations need a "
                f"direct one: set {DIRECT_URL_SETTING} to the server's own address"
            )
        try_lock = sa.text(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})")
        while not connection.execute(try_lock).scalar_one():
            time.sleep(0.1)
        yield


@contextmanager
def _migration_connection(conninfo: Conninfo) -> Iterator[Connection]:
    """Open a connection with a lock timeout.

    It is shorter than PostgreSQL's deadlock timeout (a second, by default), so that a migration
    gives up its lock request before the server cancels a writer.
    """
    engine = new_engine(conninfo, "lalafo-migration", poolclass=sa.NullPool)
    with engine.connect() as connection:
        # A statement, not `options`, which the connection string may have already.
        connection.execute(sa.text(f"SET lock_timeout = {MIGRATION_LOCK_TIMEOUT_MS}"))
        connection.commit()
        yield connection


def _alembic_config(connection: Connection) -> "Config":
    """Return Alembic's configuration for the migrations over an open connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
