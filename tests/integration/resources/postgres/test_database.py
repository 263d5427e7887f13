"""The schema: migrations match the metadata, work in both directions, and errors are translated."""

import concurrent.futures

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ops.errors import ConfigurationError
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
