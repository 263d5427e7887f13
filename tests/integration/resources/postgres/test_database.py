"""The schema: migrations match the metadata, work in both directions, and errors are translated."""

import concurrent.futures

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ops.errors import ConfigurationError, RetryableError
from resources.postgres import gateway_tables  # noqa: F401 - its tables are in the metadata
from resources.postgres.conninfo import Conninfo
from resources.postgres.database import Database
from resources.postgres.tables import SCHEMA, metadata


def test_the_migrations_make_the_tables(database: Database) -> None:
    """A migrated database is equal to the metadata."""
    with database.begin() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_schemas": True, "version_table_schema": SCHEMA, "compare_type": True},
        )
        assert compare_metadata(context, metadata) == []


def test_migrations_go_down_and_up_again(database: Database) -> None:
    """A downgrade of every revision leaves only the version table."""
    database.downgrade("base")
    with database.begin() as connection:
        assert sa.inspect(connection).get_table_names(schema=SCHEMA) == ["alembic_version"]
    database.migrate()
    with database.begin() as connection:
        assert "ads" in sa.inspect(connection).get_table_names(schema=SCHEMA)


def test_migrating_twice_at_once_is_safe(database_url: str) -> None:
    """Several processes start together: one migrates, the others wait and have nothing to do."""
    databases = [Database(database_url) for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(Database.migrate, databases))
    for database in databases:
        database.close()


def test_an_unreachable_server_is_one_clear_error() -> None:
    """The error names the setting, instead of a traceback of the driver."""
    database = Database("postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(ConfigurationError, match="LALAFO_DATABASE_URL"):
        database.check()


@pytest.mark.parametrize("use", ["begin", "cursor", "statement"])
def test_a_connection_that_is_lost_as_soon_as_it_opens_is_an_outage(
    database: Database, use: str
) -> None:
    """Again and again, and beside lost connections in the pool: never an error of another kind."""

    def execute() -> None:
        with getattr(database, use)() as connection:
            connection.execute(sa.text("SELECT 1") if use == "begin" else "SELECT 1")

    def terminate(connection: psycopg.Connection, _record: object) -> None:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))

    execute()  # the pool has a connection
    with database.connect_directly("test") as admin:
        sa.event.listen(database.engine, "connect", terminate)
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for _ in range(3):
            with pytest.raises(RetryableError):
                execute()
        sa.event.remove(database.engine, "connect", terminate)
    execute()


@pytest.mark.parametrize("url", ["sqlite:///x", "no url at all", ""])
def test_another_database_is_refused(url: str) -> None:
    """Only URLs of PostgreSQL are accepted."""
    with pytest.raises(ConfigurationError, match="LALAFO_DATABASE_URL"):
        Conninfo.parse(url)


def test_a_value_that_is_too_large_is_not_waited_out(database: Database) -> None:
    """Class 54: psycopg has it among the OperationalErrors, but it fails again each time."""
    key = "".join(chr(0x4E00 + n * 7 % 20_000) for n in range(9_000))  # hardly compressible
    with pytest.raises(psycopg.errors.ProgramLimitExceeded), database.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE k (id text PRIMARY KEY)")
        cursor.execute("INSERT INTO k VALUES (%s)", (key,))
