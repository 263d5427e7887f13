"""The schema: what the migrations make is what the tables say, up and down, and errors are ours."""

import concurrent.futures

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ops.errors import ConfigurationError
from resources.postgres import gateway_tables  # noqa: F401 - its tables are in the metadata
from resources.postgres.database import Database, parse_url
from resources.postgres.tables import SCHEMA, metadata


def test_the_migrations_make_the_tables(database: Database) -> None:
    """A migrated database differs in nothing from the metadata."""
    with database.begin() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_schemas": True, "version_table_schema": SCHEMA, "compare_type": True},
        )
        assert compare_metadata(context, metadata) == []


def test_migrations_go_down_and_up_again(database: Database) -> None:
    """Every revision can be taken back, leaving nothing but the version table."""
    database.downgrade("base")
    with database.begin() as connection:
        assert sa.inspect(connection).get_table_names(schema=SCHEMA) == ["alembic_version"]
    database.migrate()
    with database.begin() as connection:
        assert "ads" in sa.inspect(connection).get_table_names(schema=SCHEMA)


def test_migrating_twice_at_once_is_safe(database_url: str) -> None:
    """Several processes start together: one migrates, the others wait and find it done."""
    databases = [Database(database_url) for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(Database.migrate, databases))
    for database in databases:
        database.close()


def test_a_server_that_is_away_is_one_clear_error() -> None:
    """No traceback of a driver's: the setting is named."""
    database = Database("postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(ConfigurationError, match="LALAFO_DATABASE_URL"):
        database.check()


@pytest.mark.parametrize("url", ["sqlite:///x", "no url at all", ""])
def test_another_database_is_refused(url: str) -> None:
    """Only PostgreSQL holds what we need."""
    with pytest.raises(ConfigurationError, match="LALAFO_DATABASE_URL"):
        parse_url(url)
