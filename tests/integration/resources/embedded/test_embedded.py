"""The embedded servers and child processes: start, adoption, stop and cleanup."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy as sa

from ops.errors import ConfigurationError, RetryableError
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from resources.processes.child import STACK_MARK, ChildProcess, end_leftovers, hold_home, mark_of
from tests.conftest import connect_args

PATIENCE_S = 90.0
QUICK = {"fsync": "off", "shared_buffers": "16MB"}


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds that the kernel or another process brings about."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def query(server: EmbeddedPostgres, statement: str, database: str = "lalafo") -> str:
    with psycopg.connect(**connect_args(server.url(database))) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return str(row[0])


# PostgreSQL -------------------------------------------------------------------------------------


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    """A server for one test, for faults that must not happen to the shared one."""
    server = EmbeddedPostgres(home, overrides=QUICK)
    server.start()
    yield server
    server.stop()


def test_both_databases_answer_through_their_urls(postgres: EmbeddedPostgres) -> None:
    """The tables' database by psycopg 3 with pgvector, Dagster's by psycopg 2."""
    lalafo, dagster = sa.create_engine(postgres.url()), sa.create_engine(postgres.dagster_url())
    with lalafo.connect() as connection:
        distance = connection.scalar(sa.text("SELECT '[1,0]'::halfvec <=> '[0,1]'::halfvec"))
    with dagster.connect() as connection:
        name = connection.scalar(sa.text("SELECT current_database()"))
    lalafo.dispose()
    dagster.dispose()
    assert (distance, name) == (1.0, "dagster")
    assert (lalafo.dialect.driver, dagster.dialect.driver) == ("psycopg", "psycopg2")


def test_a_commit_is_durable_and_nothing_listens_on_the_network(home: Path) -> None:
    server = EmbeddedPostgres(home)  # as the product starts it, without a test's overrides
    server.start()
    settings = {
        name: query(server, f"SHOW {name}")
        for name in ("fsync", "synchronous_commit", "max_connections", "listen_addresses")
    }
    server.stop()
    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "max_connections": "200",
        "listen_addresses": "",
    }


def test_a_database_of_a_test_is_fresh(postgres: EmbeddedPostgres, database_url: str) -> None:
    with psycopg.connect(**connect_args(database_url)) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchone() == (0,)


def test_a_running_server_is_adopted_by_the_next_start(server: EmbeddedPostgres) -> None:
    """A server that a killed stack left running is adopted with its data, and can be stopped."""
    pid = server.pid
    adopted = EmbeddedPostgres(server.log_file.parent.parent, overrides=QUICK)
    adopted.start()
    assert adopted.pid == pid
    assert query(adopted, "SELECT 1") == "1"
    adopted.stop()
    assert server.pid is None
    adopted.stop()  # a repeated stop does nothing


def test_committed_rows_survive_a_killed_server(server: EmbeddedPostgres) -> None:
    """kill -9 leaves a pid file, a socket and backends; the next start recovers."""
    with psycopg.connect(**connect_args(server.url()), autocommit=True) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT 42 AS n")
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: ended(pid))
    server.start()
    assert query(server, "SELECT n FROM numbers") == "42"


def test_a_frozen_server_is_stopped_and_starts_again(server: EmbeddedPostgres) -> None:
    """A frozen server answers no signal but the last; what was committed is recovered."""
    with psycopg.connect(**connect_args(server.url()), autocommit=True) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT 42 AS n")
        assert server.pid is not None
        processes = [psutil.Process(server.pid)]
        processes += processes[0].children(recursive=True)
        for process in processes:
            process.suspend()
        server.stop()
    assert all(ended(process.pid) for process in processes)
    server.start()
    assert query(server, "SELECT n FROM numbers") == "42"


def test_a_pid_file_with_a_reused_process_id_is_repaired(server: EmbeddedPostgres) -> None:
    """After a container's restart another process may soon have the dead server's id."""
    server.stop()
    data = server.log_file.parent / "data"
    (data / "postmaster.pid").write_text(f"{os.getppid()}\n{data}\n1\n5432\n/nowhere\n\n1 1\n")
    (server.log_file.parent / "run" / ".s.PGSQL.5432.lock").write_text(f"{os.getppid()}\n")
    assert server.pid is None
    server.start()
    assert query(server, "SELECT 1") == "1"


def test_an_empty_pid_file_is_repaired(server: EmbeddedPostgres) -> None:
    server.stop()
    (server.log_file.parent / "data" / "postmaster.pid").write_text("")
    server.start()
    assert query(server, "SELECT 1") == "1"


def test_a_partial_cluster_is_created_again(home: Path) -> None:
    partial = home / "postgres" / "data.new"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(home, overrides=QUICK)
    server.start()
    assert query(server, "SELECT 1") == "1"
    server.stop()


@pytest.mark.parametrize("name", ["deep/" * 30 + "home", "a b'c%d", "co,mma:colon"])
def test_a_home_of_any_name_works(home: Path, name: str) -> None:
    """Too deep for a socket's address, or with characters that have a meaning in a URL."""
    server = EmbeddedPostgres(home / name, overrides=QUICK)
    server.start()
    for url in (server.url(), server.dagster_url()):
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT 1")) == 1
        sockets = Path(str(engine.url.query["host"]))
        engine.dispose()
    server.stop()
    assert sockets.exists() == (home in sockets.parents), "a short folder in /tmp is left"


def test_data_of_another_version_is_refused_with_the_remedy(home: Path) -> None:
    data = home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigurationError, match=r"PostgreSQL 16.*PostgreSQL 18.*LALAFO_HOME"):
        EmbeddedPostgres(home).start()


def test_a_home_that_is_not_a_folder_is_reported_in_one_line(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(ConfigurationError, match="LALAFO_HOME") as message:
        EmbeddedPostgres(home / "file").start()
    assert "\n" not in str(message.value)


def test_postgresqls_start_error_is_reported_in_one_line(home: Path) -> None:
    """The message has its reason and its log, not a traceback of pg_ctl."""
    server = EmbeddedPostgres(home, overrides={"shared_buffers": "plenty"})
    with pytest.raises(ConfigurationError, match="shared_buffers") as message:
        server.start()
    assert "\n" not in str(message.value)
    assert str(server.log_file) in str(message.value)


# The broker -------------------------------------------------------------------------------------


def test_each_start_of_the_broker_names_a_new_log(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path)
    with pytest.raises(RetryableError, match="not started"):
        _ = broker.bootstrap
    broker.start()
    first, pid = broker.stream_id, broker.pid
    broker.start()  # a repeated start does nothing
    assert (broker.stream_id, broker.pid) == (first, pid)
    assert broker.exports() == {
        "LALAFO_KAFKA_BOOTSTRAP": broker.bootstrap,
        "LALAFO_KAFKA_API_VERSION": "2.0",
        "LALAFO_STREAM_ID": first,
        "LALAFO_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "LALAFO_KAFKA_CONFIG": "",
    }
    broker.stop()
    broker.start()
    assert broker.stream_id != first
    broker.stop()
    assert not broker.is_running()


def test_the_broker_ends_with_a_killed_parent(tmp_path: Path) -> None:
    """kill -9 of the stack leaves no broker behind."""
    script = f"""
        from pathlib import Path
        from resources.embedded.broker import EmbeddedBroker
        broker = EmbeddedBroker(Path({str(tmp_path)!r}))
        broker.start()
        print(broker.pid, flush=True)
        input()
    """
    with _python(script) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not ended(pid)
        parent.kill()
        assert eventually(lambda: ended(pid))


# Processes --------------------------------------------------------------------------------------


def _python(script: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen(["sleep", "600"], start_new_session=len(sys.argv) > 1)
print(grandchild.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("arguments", [[], ["own-session"]])
def test_a_stop_ends_a_process_that_ignores_sigterm_and_its_descendants(
    tmp_path: Path, arguments: list[str]
) -> None:
    child = ChildProcess(
        "stubborn",
        [sys.executable, "-c", STUBBORN, *arguments],
        home=tmp_path,
        log_file=tmp_path / "log",
    )
    child.start()
    assert eventually(lambda: child.log_tail() != "")
    pid, grandchild = child.pid, int(child.log_tail())
    assert pid is not None
    child.stop(timeout_s=0.1)
    assert ended(pid)
    assert eventually(lambda: ended(grandchild))
    assert not child.is_running()
    child.stop()  # a repeated stop does nothing


def test_a_child_that_cannot_start_is_reported_as_ended(tmp_path: Path) -> None:
    child = ChildProcess("nothing", ["/no/such/program"], home=tmp_path, log_file=tmp_path / "log")
    child.start()
    assert eventually(lambda: not child.is_running())
    assert child.returncode == 1
    assert "No such file" in child.log_tail()


def test_leftovers_of_a_home_are_ended_and_nothing_else(tmp_path: Path) -> None:
    """By the mark: processes of another home, and unmarked ones, keep running."""
    home, other = tmp_path / "home", tmp_path / "other"
    wait = "print(flush=True); input()"
    with (
        _python(wait, **{STACK_MARK: mark_of(home)}) as leftover,
        _python(wait, **{STACK_MARK: mark_of(other)}) as stranger,
        _python(wait) as unmarked,
    ):
        for process in (leftover, stranger, unmarked):
            assert process.stdout is not None
            process.stdout.readline()
        leftovers = end_leftovers(home)
        assert len(leftovers) == 1
        assert ended(leftover.pid)
        assert not ended(stranger.pid)
        assert not ended(unmarked.pid)
        assert end_leftovers(home) == []


def test_end_leftovers_spares_the_process_itself_and_its_ancestors(tmp_path: Path) -> None:
    """A marked process may call it too: `lalafo` started by a stack's child."""
    script = f"""
        import subprocess, sys
        from pathlib import Path
        from resources.processes.child import end_leftovers
        inner = "from pathlib import Path; from resources.processes.child import end_leftovers; "
        inner += "print(len(end_leftovers(Path({str(tmp_path)!r}))))"
        print(subprocess.run([sys.executable, "-c", inner], capture_output=True, text=True).stdout)
    """
    with _python(script, **{STACK_MARK: mark_of(tmp_path)}) as process:
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert output.strip() == "0"
    assert process.returncode == 0


def test_one_stack_at_a_time_holds_a_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        hold_home(home),
        pytest.raises(ConfigurationError, match=f"Process {os.getpid()} already"),
        hold_home(home),
    ):
        pass
    with hold_home(home):  # once released, it can be locked again
        pass
