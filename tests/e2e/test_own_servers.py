"""The README's "Use it with your own Kafka and PostgreSQL", as it stands, on servers of the test.

The reader's part is played by replacing the three addresses. Kafka is Apache Kafka; PostgreSQL has
pgvector and neither database nor role of the product.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from resources.embedded.postgres import EmbeddedPostgres
from tests.conftest import connect_args
from tests.support.checkout import checkout_variables, free_ports, make_checkout
from tests.support.document_plan import PLAN, Run
from tests.support.document_shell import DocumentShell, psql_variables

pytestmark = [pytest.mark.kafka, pytest.mark.stack]

START_S = 180
RESULT_S = 300  # a session starts meanwhile, beside the other tests
LEFT_S = 90

STEPS = [step for step in PLAN if step.run is Run.OWN_SERVERS]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lalafo-test-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "logs").mkdir()
        yield Path(folder)


@pytest.fixture
def own_postgres(folder: Path) -> Iterator[dict[str, str]]:
    """libpq's connection arguments of a superuser; the server is as it is before step 1."""
    server = EmbeddedPostgres(folder, overrides={"fsync": "off", "shared_buffers": "64MB"})
    server.start()
    arguments = connect_args(server.url("postgres"))
    with psycopg.connect(**arguments, autocommit=True) as connection:
        connection.execute("DROP DATABASE lalafo")
        connection.execute("DROP DATABASE dagster")
    yield arguments
    server.stop()


@pytest.fixture
def shell(
    folder: Path, own_postgres: dict[str, str], kafka_server: KafkaServer
) -> Iterator[DocumentShell]:
    """A shell in a clone, in which the README's addresses are those of the test's servers."""
    ports = free_ports(8080, 3000, 4000)
    checkout = make_checkout(folder / "a clone", replaced=ports)
    postgres = f"postgresql://postgres@:{own_postgres['port']}"
    socket = f"?host={own_postgres['host']}"
    replaced = {
        **{f"postgresql://postgres@localhost:5432/{name}": f"{postgres}/{name}{socket}"
           for name in ("lalafo", "dagster")},
        "localhost:9092": kafka_server.bootstrap,
        **ports,
    }  # fmt: skip
    variables = {**checkout_variables(checkout), **psql_variables(own_postgres)}
    with DocumentShell(checkout, variables, replaced=replaced, logs=folder / "logs") as shell:
        yield shell


@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_score_an_ad(shell: DocumentShell) -> None:
    """From empty servers to an ad's category, by the README's commands alone; then Ctrl-C."""
    databases, addresses, install, processes, post, read, pools = STEPS
    assert databases.prints in shell.run(databases.block)
    shell.run(addresses.block)
    assert install.prints in shell.run(install.block, within_s=START_S)
    shell.run(pools.block)
    code_server, webserver, daemon, gateway = (
        shell.start(processes.block, line=line)
        for line in range(len(processes.block.text.splitlines()))
    )
    gateway.wait_for("The page:", START_S)
    assert post.prints in shell.run(post.block)
    shell.run_until(read.block, read.prints, within_s=RESULT_S)
    for started in (daemon, code_server, webserver, gateway):
        shell.interrupt(started)
    assert run_statuses(shell) == ["SUCCESS"], code_server.output
    assert processes_of(shell.folder) == []


def run_statuses(shell: DocumentShell) -> list[str]:
    """The statuses of the sessions' runs, in Dagster's own database."""
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user"}
    arguments = {names[name]: shell.variables[name] for name in names}
    with psycopg.connect(**arguments, dbname="dagster") as connection:
        statement = "SELECT status FROM runs WHERE pipeline_name = 'score_new_ads' ORDER BY id"
        return [status for (status,) in connection.execute(statement)]


def processes_of(folder: Path) -> list[str]:
    """The command lines of processes that run in the folder, some seconds after Ctrl-C."""
    found: list[str] = ["not looked yet"]
    deadline = time.monotonic() + LEFT_S
    while found and time.monotonic() < deadline:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cwd().startswith(str(folder)):
                    found.append(" ".join(process.cmdline()))
    return found
