"""`python -m gateway`: what it needs, what it refuses, when it is ready, and how it stops."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from alembic.script import ScriptDirectory

from gateway.__main__ import main
from gateway.edge.exposure import is_loopback
from gateway.monitoring import health
from resources.embedded.broker import EmbeddedBroker
from resources.postgres.database import MIGRATIONS, Database
from resources.settings import Settings
from tests.support.gateway_live import live_gateway

HEAVY = {
    *("torch", "dagster", "sqlalchemy", "alembic", "numpy", "pandas", "PIL", "structlog"),
    *("kafka", "confluent_kafka", "lalafo_assets"),
}
WITHIN_S = 20


def environment(url: str, home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LALAFO_")}
    return {**kept, "LALAFO_DATABASE_URL": url, "LALAFO_HOME": str(home), **more}


@contextmanager
def served(env: dict[str, str], *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway's process and its address; ended at the end, whatever it does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "--port", "0", *arguments],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url), process.stderr.read()
        yield process, url
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def until_it_answers(url: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, "it did not answer in time"
            time.sleep(0.02)


def test_it_prints_its_address_answers_and_ends_with_the_requests_it_has_begun(
    database: Database, tmp_path: Path
):
    url = database.url.render_as_string(hide_password=False)
    env = environment(url, tmp_path, LALAFO_GATEWAY_AUTH="off")
    with served(env) as (process, address):
        until_it_answers(address)
        begun, got = threading.Event(), []

        def slow_body() -> Iterator[bytes]:
            yield b'{"task": "category", '
            begun.set()
            time.sleep(0.3)  # the stop comes meanwhile
            yield b'"label": "chair", "given_by": "me"}'

        def ask() -> None:
            path = f"{address}/v1/ads/kg/none/feedback"
            headers = {"Content-Type": "application/json"}
            got.append(httpx.post(path, content=slow_body(), headers=headers).status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        assert begun.wait(WITHIN_S)
        process.send_signal(signal.SIGTERM)
        asking.join(WITHIN_S)
        assert got == [404]
        assert process.wait(WITHIN_S) == 0


def test_its_workers_end_with_the_process_that_started_them(database: Database, tmp_path: Path):
    url = database.url.render_as_string(hide_password=False)
    with served(environment(url, tmp_path), "--workers", "2") as (process, address):
        until_it_answers(address)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        gone, alive = psutil.wait_procs(workers, timeout=WITHIN_S)
        for left in alive:
            left.kill()
    assert (len(alive), len(gone) >= 2) == (0, True)


@pytest.mark.parametrize(
    ("changes", "arguments", "expected_text"),
    [
        ({"LALAFO_GATEWAY_AUTH": "off"}, ["--host", "0.0.0.0"], "lalafo keys make"),
        ({"LALAFO_GATEWAY_AUTH": "off"}, ["--host", "::"], "LALAFO_GATEWAY_AUTH=keys"),
        ({"LALAFO_DATABASE_URL": ""}, [], "LALAFO_DATABASE_URL is not set"),
        ({"LALAFO_DATABASE_URL": "mysql://u:hunter2@h/d"}, [], "PostgreSQL"),
        ({}, ["--port", "99999"], "LALAFO_GATEWAY_PORT"),
        ({}, ["--host", "no.such.host.invalid"], "LALAFO_GATEWAY_HOST"),
    ],
)
def test_what_is_set_wrong_is_told_at_once(
    changes: dict[str, str],
    arguments: list[str],
    expected_text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    for name in [name for name in os.environ if name.startswith("LALAFO_")]:
        monkeypatch.delenv(name)
    for name, value in {"LALAFO_DATABASE_URL": "postgresql://u@h/d", **changes}.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 1
    told_of = capsys.readouterr().err
    assert expected_text in told_of
    assert "hunter2" not in told_of


def test_an_address_that_is_taken_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("LALAFO_DATABASE_URL", "postgresql://u@h/d")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert "LALAFO_GATEWAY_PORT" in capsys.readouterr().err


def test_its_help_teaches(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    expected_text = capsys.readouterr().out
    for word in ("LALAFO_DATABASE_URL", "LALAFO_GATEWAY_AUTH", "lalafo keys make", "/readyz"):
        assert word in expected_text


def test_only_loopback_is_this_machine_alone():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.com", "")))


def test_its_tables_are_those_of_the_newest_migration():
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == health.EXPECTED_REVISION


def ready(settings: Settings) -> tuple[int, dict]:
    with live_gateway(settings) as gateway:
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200
        answer = httpx.get(f"{gateway.url}/readyz", timeout=20)
    assert "127.0.0.1" not in answer.text and "/tmp" not in answer.text
    return answer.status_code, answer.json()["checks"]


def test_it_is_ready_once_postgresql_has_the_tables(
    database: Database, database_url: str, tmp_path: Path
):
    def settings(url: str) -> Settings:
        return Settings(home=tmp_path, database_url=url, kafka_bootstrap="")

    status, checks = ready(settings(database.url.render_as_string(hide_password=False)))
    assert (status, checks["postgresql"]["ok"]) == (200, True)
    assert (checks["broker"]["ok"], checks["broker"]["required"]) == (False, False)
    status, checks = ready(settings(database_url))  # without a table
    assert (status, checks["postgresql"]["ok"]) == (503, False)
    assert health.EXPECTED_REVISION in checks["postgresql"]["found"]
    database.downgrade("0004")
    status, checks = ready(settings(database.url.render_as_string(hide_password=False)))
    assert (status, checks["postgresql"]["ok"]) == (503, False)
    assert "0004" in checks["postgresql"]["found"]


def test_without_postgresql_it_lives_and_is_not_ready(tmp_path: Path):
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    status, checks = ready(Settings(home=tmp_path, database_url=nowhere, kafka_bootstrap=""))
    assert (status, checks["postgresql"]) == (
        503,
        {"ok": False, "required": True, "found": "does not answer"},
    )


def test_where_the_broker_is_required_it_is_not_ready_without_it(
    database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path
):
    fields = {
        "home": tmp_path,
        "database_url": database.url.render_as_string(hide_password=False),
        "require_broker": True,
    }
    status, checks = ready(Settings(**fields, kafka_bootstrap="127.0.0.1:1"))
    assert (status, checks["broker"]["ok"]) == (503, False)
    there = {k.removeprefix("LALAFO_").lower(): v for k, v in embedded_broker.exports().items()}
    with live_gateway(Settings.model_validate({**fields, **there})) as gateway:
        deadline = time.monotonic() + WITHIN_S
        while httpx.get(f"{gateway.url}/readyz").status_code != 200:
            assert time.monotonic() < deadline, "Kafka was not found"
            time.sleep(0.05)


def test_nothing_heavy_is_imported_before_it_serves():
    code = "import sys, gateway.app, gateway.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = {name.partition(".")[0] for name in done.stdout.split()}
    assert found & HEAVY == set()
