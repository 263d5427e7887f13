"""`python -m gateway`: its settings, readiness and shutdown."""

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
from tests.support.working_sessions import until

HEAVY = {
    *("torch", "dagster", "sqlalchemy", "alembic", "numpy", "pandas", "PIL", "structlog"),
    *("kafka", "confluent_kafka", "lalafo_assets"),
}
WITHIN_S = 90


def environment(url: str, home: Path, **more: str) -> dict[str, str]:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("LALAFO_")}
    return {**inherited, "LALAFO_DATABASE_URL": url, "LALAFO_HOME": str(home), **more}


@contextmanager
def served(env: dict[str, str], *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a gateway process and yield it with its URL; kill it at the end."""
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


def wait_until_it_responds(url: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, "it did not respond in time"
            time.sleep(0.02)


def test_it_prints_its_url_and_finishes_requests_before_it_stops(
    database: Database, tmp_path: Path
):
    url = database.url.render_as_string(hide_password=False)
    env = environment(url, tmp_path, LALAFO_GATEWAY_AUTH="off")
    with served(env) as (process, address):
        wait_until_it_responds(address)
        started, statuses = threading.Event(), []

        def slow_body() -> Iterator[bytes]:
            yield b'{"task": "category", '
            started.set()
            time.sleep(0.3)  # SIGTERM is sent meanwhile
            yield b'"label": "chair", "given_by": "me"}'

        def post() -> None:
            path = f"{address}/v1/ads/kg/none/feedback"
            headers = {"Content-Type": "application/json"}
            statuses.append(httpx.post(path, content=slow_body(), headers=headers).status_code)

        thread = threading.Thread(target=post)
        thread.start()
        assert started.wait(WITHIN_S)
        process.send_signal(signal.SIGTERM)
        thread.join(WITHIN_S)
        assert statuses == [404]
        assert process.wait(WITHIN_S) == 0


def post_waiting(address: str, statuses: list[tuple[int, dict]]) -> list[threading.Thread]:
    """Post ads that nobody scores, by every route that waits for the result."""

    def post(path: str, body: dict) -> None:
        answer = httpx.post(f"{address}{path}", json=body, timeout=60)
        statuses.append((answer.status_code, answer.json()))

    routes = [(f"/v1/ads?wait={seconds}", {"catalog": "kg"}) for seconds in (1e9, 30, 29, 28)]
    routes += [("/classify", {}), ("/v4/classify/add_images", {})]
    threads = [
        threading.Thread(target=post, args=(path, {**body, "ad_id": str(number)}))
        for number, (path, body) in enumerate(routes)
    ]
    for thread in threads:
        thread.start()
    return threads


def accepted(database: Database) -> int:
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.accepted_ads")
        return int(cursor.fetchall()[0][0])


@pytest.mark.parametrize("workers", [1, 2])
def test_who_waits_for_a_result_is_answered_when_it_stops(
    database: Database, tmp_path: Path, workers: int
) -> None:
    """202 with the links, and the original API's "Processing", though nothing was scored."""
    url = database.url.render_as_string(hide_password=False)
    env = environment(url, tmp_path, LALAFO_GATEWAY_AUTH="off")
    with served(env, "--workers", str(workers)) as (process, address):
        wait_until_it_responds(address)
        answers: list[tuple[int, dict]] = []
        threads = post_waiting(address, answers)
        until(lambda: accepted(database) == len(threads))
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(WITHIN_S)
        assert process.wait(WITHIN_S) == 0
    assert sorted(status for status, _ in answers) == [200, 200, 202, 202, 202, 202]
    for status, body in answers:
        assert body.get("status") == "Processing" if status == 200 else body["links"]["self"]


@pytest.mark.parametrize("workers", [1, 2])
def test_no_connection_is_accepted_while_it_stops(
    database: Database, tmp_path: Path, workers: int
) -> None:
    """A caller is refused at once, and not left with a connection that nobody serves; the request
    that does not end in time gets 503 with Retry-After."""
    url = database.url.render_as_string(hide_password=False)
    env = environment(url, tmp_path, LALAFO_GATEWAY_AUTH="off", LALAFO_GATEWAY_STOP_S="5")
    with served(env, "--workers", str(workers)) as (process, address):
        wait_until_it_responds(address)
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.settimeout(WITHIN_S)
            slow.sendall(
                b"POST /v1/ads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert slow.recv(65_536).startswith(b"HTTP/1.1 100 ")  # the route reads the body now
            process.send_signal(signal.SIGTERM)
            until(lambda: refused(port))
            assert process.poll() is None
            answer = b"".join(iter(lambda: slow.recv(65_536), b"")).decode().lower()
        assert process.wait(WITHIN_S) == 0
    assert answer.startswith("http/1.1 503 ")
    assert "\r\nretry-after: 2\r\n" in answer and "urn:lalafo:problem:stopping" in answer


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_its_workers_stop_with_the_process_that_started_them(database: Database, tmp_path: Path):
    url = database.url.render_as_string(hide_password=False)
    with served(environment(url, tmp_path), "--workers", "2") as (process, address):
        wait_until_it_responds(address)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        stopped, alive = psutil.wait_procs(workers, timeout=WITHIN_S)
        for worker in alive:
            worker.kill()
    assert (len(alive), len(stopped) >= 2) == (0, True)


@pytest.mark.parametrize(
    ("changes", "arguments", "expected"),
    [
        ({"LALAFO_GATEWAY_AUTH": "off"}, ["--host", "0.0.0.0"], "lalafo keys make"),
        ({"LALAFO_GATEWAY_AUTH": "off"}, ["--host", "::"], "LALAFO_GATEWAY_AUTH=keys"),
        ({"LALAFO_DATABASE_URL": ""}, [], "LALAFO_DATABASE_URL is not set"),
        ({"LALAFO_DATABASE_URL": "mysql://u:hunter2@h/d"}, [], "PostgreSQL"),
        ({}, ["--port", "99999"], "LALAFO_GATEWAY_PORT"),
        ({}, ["--host", "no.such.host.invalid"], "LALAFO_GATEWAY_HOST"),
    ],
)
def test_a_wrong_setting_is_reported_at_once(
    changes: dict[str, str],
    arguments: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    for name in [name for name in os.environ if name.startswith("LALAFO_")]:
        monkeypatch.delenv(name)
    for name, value in {"LALAFO_DATABASE_URL": "postgresql://u@h/d", **changes}.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert expected in error
    assert "hunter2" not in error


def test_an_address_in_use_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("LALAFO_DATABASE_URL", "postgresql://u@h/d")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert "LALAFO_GATEWAY_PORT" in capsys.readouterr().err


def test_its_help_names_settings_and_endpoints(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    for word in ("LALAFO_DATABASE_URL", "LALAFO_GATEWAY_AUTH", "lalafo keys make", "/readyz"):
        assert word in output


def test_loopback_hosts_are_recognized():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.com", "")))


def test_the_expected_revision_is_the_migrations_head():
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == health.EXPECTED_REVISION


def ready(settings: Settings) -> tuple[int, dict]:
    with live_gateway(settings) as gateway:
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200
        answer = httpx.get(f"{gateway.url}/readyz", timeout=60)
        head = httpx.head(f"{gateway.url}/readyz", timeout=60)  # as monitors send it
    assert (head.status_code, head.content) == (answer.status_code, b"")
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
    status, checks = ready(settings(database_url))  # without tables
    assert (status, checks["postgresql"]["ok"]) == (503, False)
    assert health.EXPECTED_REVISION in checks["postgresql"]["found"]
    database.downgrade("0004")
    status, checks = ready(settings(database.url.render_as_string(hide_password=False)))
    assert (status, checks["postgresql"]["ok"]) == (503, False)
    assert "0004" in checks["postgresql"]["found"]


def test_without_postgresql_it_is_alive_and_not_ready(tmp_path: Path):
    unreachable = "postgresql://nobody@127.0.0.1:1/none"
    status, checks = ready(Settings(home=tmp_path, database_url=unreachable, kafka_bootstrap=""))
    assert (status, checks["postgresql"]) == (
        503,
        {"ok": False, "required": True, "found": "does not respond"},
    )


def test_without_a_required_broker_it_is_not_ready(
    database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path
):
    fields = {
        "home": tmp_path,
        "database_url": database.url.render_as_string(hide_password=False),
        "require_broker": True,
    }
    status, checks = ready(Settings(**fields, kafka_bootstrap="127.0.0.1:1"))
    assert (status, checks["broker"]["ok"]) == (503, False)
    broker = {k.removeprefix("LALAFO_").lower(): v for k, v in embedded_broker.exports().items()}
    with live_gateway(Settings.model_validate({**fields, **broker})) as gateway:
        deadline = time.monotonic() + WITHIN_S
        while httpx.get(f"{gateway.url}/readyz").status_code != 200:
            assert time.monotonic() < deadline, "Kafka was not found"
            time.sleep(0.05)


def test_nothing_heavy_is_imported_before_it_serves():
    code = "import sys, gateway.app, gateway.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = {name.partition(".")[0] for name in done.stdout.split()}
    assert found & HEAVY == set()
