"""The servers of a stack: those that the environment names are used, and embedded ones watched."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from lalafo_assets.stack.supervisor import Stack, running_stack
from ops.errors import LalafoError, RetryableError
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database
from resources.processes.child import marked_processes
from tests.conftest import connect_args
from tests.support.command_lines import command_line
from tests.support.working_sessions import until

ADS, DAGSTER = "LALAFO_DATABASE_URL", "LALAFO_DAGSTER_DATABASE_URL"


@pytest.fixture
def databases(postgres: EmbeddedPostgres, make_database: Callable[..., str]) -> dict[str, str]:
    """Two databases of a server that no stack has started, as the environment names them."""
    return {ADS: postgres.url(make_database()), DAGSTER: postgres.dagster_url(make_database())}


def tables(url: str, schema: str) -> set[str]:
    with psycopg.connect(**connect_args(url)) as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = %s"
        return {name for (name,) in connection.execute(query, (schema,))}


def test_the_databases_that_the_environment_names_are_used(
    home: Path, databases: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are migrated, children get them, and no server of the stack's own starts beside them."""
    for name, url in databases.items():
        monkeypatch.setenv(name, url)
    before, messages, prepared = dict(os.environ), [], []

    def prepare(database: Database) -> None:
        prepared.append(database.shown)

    with Stack(home, services_only=True, prepare=prepare, on_progress=messages.append) as stack:
        assert {name: stack.exports[name] for name in databases} == databases
        assert stack.postgres_pid is None
        assert not (home / "postgres").exists()
        assert "releases" in tables(databases[ADS], "lalafo")
        assert "runs" in tables(databases[DAGSTER], "public")
        assert len(prepared) == 1
        running = running_stack(home)
        assert running is not None and running.exports == stack.exports
    assert sum("using PostgreSQL at" in message for message in messages) == 2
    assert dict(os.environ) == before
    assert "releases" in tables(databases[ADS], "lalafo"), "the server goes on without the stack"


def test_a_database_that_does_not_answer_is_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded server is no substitute: the results would be elsewhere than one thinks."""
    monkeypatch.setenv(ADS, "postgresql://u@127.0.0.1:9/ads")
    monkeypatch.setenv(DAGSTER, "postgresql://u@127.0.0.1:9/dagster")
    with pytest.raises(LalafoError, match=r"127\.0\.0\.1/ads"), Stack(home, services_only=True):
        pass
    assert not marked_processes(home)


def test_the_end_of_the_embedded_broker_ends_the_stack_with_a_reason(
    home: Path, databases: dict[str, str]
) -> None:
    """Another broker would be another log at another address. Nothing stays behind."""
    with Stack(home, services_only=True, environment=databases) as stack:
        stack.check()
        (broker,) = (p for p in marked_processes(home) if "broker" in command_line(p))
        broker.send_signal(signal.SIGKILL)
        with pytest.raises(RetryableError, match=r"embedded broker has ended.*Start it again"):
            until(stack.check)  # a process has ended once its last thread has
    assert not marked_processes(home)


@pytest.mark.parametrize("option", ["--port", "--gateway-port"])
def test_a_port_in_use_is_found_before_anything_starts(home: Path, option: str) -> None:
    """One plain line that names the process which has it; no server has been started."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, "-m", "lalafo_assets.cli", "up", "--home", str(home)]
        ended = subprocess.run(
            [*command, option, str(port)], capture_output=True, text=True, timeout=120, check=False
        )
    assert ended.returncode == 1
    assert "\x1b" not in ended.stderr
    said = " ".join(ended.stderr.split())
    assert f"port {port}, for " in said
    assert f"is in use by process {os.getpid()} (" in said and f"with {option}" in said
    assert not (home / "postgres").exists() and not (home / "broker").exists()
