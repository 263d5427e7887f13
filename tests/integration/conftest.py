"""A migrated database of a test's own, cheap: a copy of one that was migrated once."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from resources.database import Database
from resources.embedded import EmbeddedPostgres
from tests.conftest import connect_args


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres, make_database: Callable[..., str]) -> str:
    """The name of a database at the newest revision, without rows."""
    name = make_database()
    database = Database(postgres.url(name))
    database.migrate()
    database.close()
    return name


@pytest.fixture
def database(
    postgres: EmbeddedPostgres, make_database: Callable[..., str], migrated_template: str
) -> Iterator[Database]:
    """A migrated database without rows, dropped afterwards."""
    name = make_database(template=migrated_template)
    database = Database(postgres.url(name))
    yield database
    database.close()
    with psycopg.connect(**connect_args(postgres.url("postgres")), autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
