"""The whole stack under faults, as `lalafo up` starts it, on Apache Kafka.

The sensor starts the session as a Dagster run. First the session's process group is killed (the
code server too), then every process: command, daemon, webserver, code server, session, PostgreSQL.
The results are compared with those of an undisturbed pass over the same topic.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from lalafo_assets.demo.photo_host import PhotoHost
from lalafo_assets.stack.supervisor import running_stack
from ops.models.release import Release
from resources.embedded.postgres import EmbeddedPostgres
from resources.inference.loading import install
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.processes.child import STACK_MARK, mark_of
from resources.releases.promotion import make_live
from resources.settings import Settings
from resources.storage.releases import ReleaseStore
from tests.support.event_corpus import CORRUPT, MISSING, Message, make_corpus, publish
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.session_process import Crew, wait_for
from tests.support.stream_outcome import Outcome, outcome_of

pytestmark = [pytest.mark.kafka, pytest.mark.stack]

EVENTS = 2_000
NOW = "clock_timestamp()"
PATIENCE_S = 180
LALAFO = [sys.executable, "-m", "lalafo_assets.cli"]


class Up:
    """A running `lalafo up`; a test that installs a release of its own wants no other."""

    def __init__(
        self,
        home: Path,
        variables: dict[str, str],
        release: str = "--no-release",
        *,
        awaited: bool = True,
    ) -> None:
        self.home = home
        self.log = home / f"up-{time.time_ns()}.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LALAFO_")}
        settled = {"LALAFO_MODEL_MODE": "eager", "LALAFO_BACKGROUND_PRIORITY": "normal"}
        variables = {**settled, **variables}
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [*LALAFO, "up", "--home", str(home), release],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**environment, **variables, "LALAFO_FETCH_ALLOW_PRIVATE": "true"},
                start_new_session=True,
            )
        self.exports = {**EmbeddedPostgres(home).exports(), **variables}
        if awaited:
            self.await_running()

    def await_running(self) -> None:
        wait_for(lambda: "Running" in self.log.read_text(), self.log.read_text, PATIENCE_S)
        stack = running_stack(self.home)
        assert stack is not None
        self.exports = {**stack.exports, **self.exports}
        self.ui_url = stack.ui_url

    def settings(self) -> Settings:
        given = {
            name.removeprefix("LALAFO_").lower(): value
            for name, value in self.exports.items()
            if name.startswith("LALAFO_")
        }
        return Settings.model_validate({**given, "fetch_allow_private": True})

    def kill_everything(self) -> None:
        """Send SIGKILL to the command and to every process that it started, also PostgreSQL."""
        mark = mark_of(self.home)
        processes = [psutil.Process(self.process.pid)]
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                is_marked = process.environ().get(STACK_MARK) == mark
                if is_marked or str(self.home) in " ".join(process.cmdline()):
                    processes.append(process)
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lalafo-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def committed(database: Database) -> int:
    with database.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(next_offset), 0)::int FROM lalafo.stream_offsets")
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])


def session_pid(database: Database) -> int:
    """Return the process id of the session that consumes the topic, or 0."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT s.pid FROM lalafo.sessions AS s JOIN lalafo.leases AS l USING (run_id) "
            "WHERE l.expires_at > clock_timestamp() AND s.expires_at > clock_timestamp() LIMIT 1"
        )
        row = cursor.fetchone()
        return 0 if row is None else int(row[0])


def activate_release(settings: Settings, database: Database, release: Release) -> None:
    store = ReleaseStore(settings.resolved_store_url)
    make_live(database, install(database, store, release).name)


@pytest.mark.timeout(PATIENCE_S * 5)
def test_a_killed_stack_continues_from_the_last_commit(
    home: Path, kafka_server: KafkaServer, tmp_path: Path
) -> None:
    """The run's process group is killed, then the whole stack: no event is lost or duplicated."""
    release = random_release()
    topic = f"ads-stack-{os.getpid()}"
    kafka = {
        **kafka_server.exports(),
        "LALAFO_ADS_TOPIC": topic,
        "LALAFO_DLQ_TOPIC": f"{topic}.dlq",
    }
    (tmp_path / "photos").mkdir()
    for number in range(40):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(jpeg(noisy(64, 48, number)))
    (tmp_path / "photos" / CORRUPT).write_bytes(jpeg(noisy(64, 48, 999))[:-400])
    with PhotoHost(tmp_path / "photos") as host:
        urls = [host.url(f"{number}.jpg") for number in range(40)]
        missing, corrupt = host.url(MISSING, path="missing"), host.url(CORRUPT)
        messages = make_corpus(EVENTS, urls, missing, corrupt, seed=3).messages
        up = Up(home, kafka)
        try:
            _first_half(up, messages[: EVENTS // 2], release)
            up.kill_everything()
            up = Up(home, kafka)
            _second_half(up, messages[EVENTS // 2 :])
            with closing(Database(up.settings().database_url)) as database:
                stormy = outcome_of(database)
                calm = _undisturbed(up.settings(), release, tmp_path)
                _terminate_in_dagster(up, database)
        finally:
            status = up.stop()
    assert status == 0
    message = f"{len(stormy.ads)} ads of {len(calm.ads)}, {len(stormy.letters)} dead letters"
    assert stormy.ads == calm.ads, message
    assert stormy.letters == calm.letters, message
    assert stormy.offsets == calm.offsets, message
    assert stormy.duplicates == 0, message
    assert all(abs(stormy.scores[key] - calm.scores[key]) <= 1e-3 for key in calm.scores), message


def _first_half(up: Up, messages: list[Message], release: Release) -> None:
    """Publish half of the events, and kill the session's process group while it scores them."""
    settings = up.settings()
    with (
        closing(Database(settings.database_url)) as database,
        AdStream.from_settings(settings) as stream,
    ):
        activate_release(settings, database, release)
        wait_for(lambda: session_pid(database) > 0, up.log.read_text, PATIENCE_S)
        publish(stream, messages)
        wait_for(lambda: committed(database) > 100, lambda: committed(database), PATIENCE_S)
        group = os.getpgid(session_pid(database))
        assert group != os.getpgid(0)
        os.killpg(group, signal.SIGKILL)
        before = committed(database)
        wait_for(lambda: committed(database) > before, up.log.read_text, PATIENCE_S)


def _second_half(up: Up, messages: list[Message]) -> None:
    """Publish the other half, after a start on the state of the killed stack."""
    settings = up.settings()
    with (
        closing(Database(settings.database_url)) as database,
        AdStream.from_settings(settings) as stream,
    ):
        publish(stream, messages)
        wait_for(
            lambda: committed(database) == EVENTS,
            lambda: _state(up, database),
            PATIENCE_S,
        )


def _terminate_in_dagster(up: Up, database: Database) -> None:
    """Terminate the run as the UI does: it ends gracefully as cancelled, and another one starts."""
    leases = f"FROM lalafo.leases WHERE expires_at > {NOW}"
    with database.cursor() as cursor:
        cursor.execute(f"SELECT run_id {leases} LIMIT 1")
        row = cursor.fetchone()
        assert row is not None
    run_id = str(row[0])
    terminated = _query(
        up, f'mutation {{ terminateRun(runId: "{run_id}") {{ __typename }} }}', "terminateRun"
    )
    assert terminated["__typename"] == "TerminateRunSuccess"
    status = f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ status }} }} }}'
    wait_for(
        lambda: _query(up, status, "runOrError")["status"] == "CANCELED",
        lambda: _query(up, status, "runOrError"),
        PATIENCE_S,
    )

    def taken_over() -> bool:
        with database.cursor() as cursor:
            cursor.execute(f"SELECT count(*) {leases} AND run_id <> %s", (run_id,))
            row = cursor.fetchone()
            return row is not None and row[0] > 0

    wait_for(taken_over, lambda: _state(up, database), PATIENCE_S)


def _query(up: Up, query: str, field: str) -> dict[str, str]:
    """Send a GraphQL query to Dagster, as its UI does, and return a field of the answer."""
    request = urllib.request.Request(
        f"{up.ui_url}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        value = json.load(answer)["data"][field]
        assert isinstance(value, dict)
        return value


def _state(up: Up, database: Database) -> str:
    with database.cursor() as cursor:
        lines = []
        for query in (
            "SELECT partition, next_offset, run_id FROM lalafo.stream_offsets ORDER BY 1",
            "SELECT partition, epoch, run_id, expires_at > clock_timestamp() FROM lalafo.leases",
            "SELECT run_id, state, pid, expires_at > clock_timestamp() FROM lalafo.sessions",
        ):
            cursor.execute(query)
            lines.append(repr(cursor.fetchall()))
    return "\n".join([f"{committed(database)} of {EVENTS}", *lines, up.log.read_text()])


def _undisturbed(settings: Settings, release: Release, folder: Path) -> Outcome:
    """Make one undisturbed pass over the same topic into another database of the same server."""
    calm_url = _another_database(settings.database_url)
    with closing(Database(calm_url)) as calm:
        calm.migrate()
        quiet = settings.model_copy(
            update={"database_url": calm_url, "home": folder, "store_url": str(folder / "store")}
        )
        activate_release(quiet, calm, release)
        with Crew(quiet, size=1, name="calm"):
            wait_for(lambda: committed(calm) == EVENTS, lambda: committed(calm), PATIENCE_S)
        return outcome_of(calm)


def _another_database(url: str) -> str:
    import sqlalchemy as sa

    parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(parsed, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text('CREATE DATABASE "calm" TEMPLATE template0'))
    engine.dispose()
    return parsed.set(database="calm").render_as_string(hide_password=False)
