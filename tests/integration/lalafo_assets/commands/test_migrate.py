"""`lalafo migrate`: in an empty database, in one of an older version, and without the rights."""

from contextlib import closing

import psycopg
import pytest
from typer.testing import CliRunner

from gateway.monitoring.health import EXPECTED_REVISION
from lalafo_assets.cli import app
from ops.errors import ConfigurationError
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database
from tests.conftest import connect_args


@pytest.fixture
def url(database_url: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    monkeypatch.setenv("LALAFO_DATABASE_URL", database_url)
    return database_url


def migrate() -> str:
    done = CliRunner().invoke(app, ["migrate"])
    assert done.exit_code == 0, done.output
    return done.output


def test_an_empty_database_gets_the_tables(url: str) -> None:
    assert f"created, at revision {EXPECTED_REVISION}" in migrate()
    with psycopg.connect(**connect_args(url)) as connection:
        assert connection.execute("SELECT count(*) FROM lalafo.ads").fetchone() == (0,)


def test_an_older_schema_is_updated_and_a_current_one_stays(url: str) -> None:
    with closing(Database(url)) as database:
        database.migrate("0005")
    assert f"at revision {EXPECTED_REVISION}; they were at 0005" in migrate()
    assert "nothing to do" in migrate()


def test_a_user_without_the_rights_learns_what_is_missing(
    url: str, postgres: EmbeddedPostgres
) -> None:
    """Neither a traceback nor a wait: the server's reason, and who has to do what."""
    with psycopg.connect(**connect_args(url), autocommit=True) as connection:
        connection.execute("DROP EXTENSION vector")
        connection.execute("DROP ROLE IF EXISTS migrate_test")
        connection.execute("CREATE ROLE migrate_test LOGIN")
    with (
        closing(Database(url.replace("postgres@", "migrate_test@", 1))) as database,
        pytest.raises(ConfigurationError, match="CREATE on the database"),
    ):
        database.migrate()
    with psycopg.connect(**connect_args(url), autocommit=True) as connection:
        name = connect_args(url)["dbname"]
        connection.execute(f'GRANT CREATE ON DATABASE "{name}" TO migrate_test')
    with (
        closing(Database(url.replace("postgres@", "migrate_test@", 1))) as database,
        pytest.raises(ConfigurationError, match="CREATE EXTENSION vector"),
    ):
        database.migrate()
