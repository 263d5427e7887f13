"""Dagster's storage by any connection string: runs are stored, and nothing shows the password."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import psycopg
import pytest
from dagster._serdes import serialize_value
from psycopg import sql
from psycopg2.extensions import make_dsn

from lalafo_assets.stack.environment import DAGSTER_STORAGE
from ops.errors import ConfigurationError
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.conninfo import Conninfo

USER, PASSWORD = "dag ster@/", r"hunter2 p@ss/w:o?r#d%20 '\"+"


@pytest.fixture(scope="module")
def socket_folder() -> Iterator[str]:
    """The socket of a server that asks for passwords, below a folder with a space."""
    with TemporaryDirectory(prefix="lalafo-test-") as folder:
        Path(folder).chmod(0o755)
        rules = Path(folder) / "hba.conf"
        rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        rules.chmod(0o644)
        server = EmbeddedPostgres(
            Path(folder) / "моя папка", overrides={"hba_file": str(rules), "fsync": "off"}
        )
        server.start()
        with psycopg.connect(Conninfo.parse(server.url("dagster")).text()) as admin:
            names = sql.Identifier(USER), sql.Literal(PASSWORD)
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(*names))
            admin.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(names[0]))
        yield Conninfo.parse(server.url()).parameters["host"]
        server.stop()


def instance_of(folder: Path) -> dg.DagsterInstance:
    """An instance as `lalafo up` configures it."""
    (folder / "dagster.yaml").write_text(f"telemetry:\n  enabled: false\n{DAGSTER_STORAGE}")
    return dg.DagsterInstance.from_config(str(folder))


def test_runs_are_stored_and_no_process_argument_has_the_password(
    socket_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instance's reference is an argument of every run's process; it names the variable."""
    given = {"host": socket_folder, "user": USER, "password": PASSWORD, "dbname": "dagster"}
    monkeypatch.setenv("LALAFO_DAGSTER_DATABASE_URL", make_dsn(**given))

    @dg.op
    def nothing() -> None: ...

    @dg.job
    def idle() -> None:
        nothing()

    with instance_of(tmp_path) as instance:
        done = idle.execute_in_process(instance=instance)
        assert [run.run_id for run in instance.get_runs()] == [done.run_id]
        events = instance.all_logs(done.run_id)
        assert events != []
        shown = serialize_value(instance.get_ref()) + instance.info_str()
        shown += "".join(serialize_value(run) for run in instance.get_runs())
        assert "hunter2" not in shown + json.dumps(instance.info_dict(), default=str)
        assert "LALAFO_DAGSTER_DATABASE_URL" in shown
        instance.upgrade()  # Dagster's migrations
        instance.optimize_for_webserver(statement_timeout=5_000, pool_recycle=60, max_overflow=2)
        assert len(instance.get_runs()) == 1
    with instance_of(tmp_path) as again:
        assert len(again.get_runs()) == 1


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the setting's name, and no part of its value."""
    monkeypatch.setenv("LALAFO_DAGSTER_DATABASE_URL", "postgresql://u:hunter2%@h/d")
    with pytest.raises(ConfigurationError, match="LALAFO_DAGSTER_DATABASE_URL") as refused:
        instance_of(tmp_path).get_runs()
    assert "hunter2" not in str(refused.value)
