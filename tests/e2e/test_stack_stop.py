"""A stack that stops, as `lalafo up` runs it with the embedded broker: nothing accepted is lost.

Ads are posted all the time, with and without `?wait=`. The code server gets SIGTERM, the
stack is interrupted, and later killed with the broker, which keeps its records in memory.
"""

import os
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Self

import httpx
import psutil
import psycopg
import pytest

from lalafo_assets.stack.supervisor import running_stack
from resources.postgres.database import Database
from tests.conftest import connect_args
from tests.e2e.test_stack_faults import LALAFO, PATIENCE_S, Up, session_pid
from tests.support.command_lines import command_line
from tests.support.session_process import wait_for

pytestmark = [pytest.mark.stack]

MISSING = (
    "SELECT w.ad_id FROM lalafo.accepted_ads AS w WHERE NOT EXISTS (SELECT FROM lalafo.ads AS a "
    "WHERE a.catalog = w.catalog AND a.ad_id = w.ad_id AND a.revision >= w.revision)"
)
UPKEEP = (
    'mutation { launchRun(executionParams: {mode: "default", selector: {'
    'repositoryLocationName: "lalafo_assets", repositoryName: "__repository__", '
    'pipelineName: "upkeep"}}) { __typename } }'
)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lalafo-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class Posting:
    """Posts an ad ten times a second until it is stopped; every third waits for its result."""

    def __init__(self, up: Up, name: str) -> None:
        self._name = name
        self._url = gateway_url(up)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run)]
        self.accepted: list[str] = []
        self.answers: Counter[int | str] = Counter()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.1):
            number += 1
            wait = "?wait=30" if number % 3 == 0 else ""
            thread = threading.Thread(target=self._post, args=(f"{self._name}-{number}", wait))
            thread.start()
            self._threads.append(thread)

    def _post(self, ad_id: str, wait: str) -> None:
        body = {"catalog": "kg", "ad_id": ad_id, "title": "a chair"}
        try:
            answer = httpx.post(f"{self._url}/v1/ads{wait}", json=body, timeout=60)
        except httpx.TransportError as error:
            self.answers[type(error).__name__] += 1
            return
        self.answers[answer.status_code] += 1
        if answer.status_code in (200, 202):
            self.accepted.append(ad_id)


def gateway_url(up: Up) -> str:
    stack = running_stack(up.home)
    assert stack is not None
    return stack.gateway_url


def query(up: Up, statement: str, *, database: str = "lalafo") -> list[tuple]:
    arguments = connect_args(up.settings().database_url) | {"dbname": database}
    with psycopg.connect(**arguments) as connection:
        return connection.execute(statement).fetchall()


def run_statuses(up: Up) -> dict[str, list[str]]:
    """Return the statuses of Dagster's runs by job, the oldest first."""
    found: dict[str, list[str]] = {}
    rows = query(up, "SELECT pipeline_name, status FROM runs ORDER BY id", database="dagster")
    for job, status in rows:
        found.setdefault(job, []).append(status)
    return found


def session_is_live(up: Up) -> bool:
    with closing(Database(up.settings().database_url)) as database:
        return session_pid(database) > 0


def await_state(up: Up, condition: Callable[[], object]) -> None:
    wait_for(condition, lambda: f"{run_statuses(up)}\n{up.log.read_text()}", PATIENCE_S)


def shut_the_code_server_down(up: Up) -> None:
    """Send SIGTERM to it alone, while a session runs; runs are started by another one then."""
    (server,) = (
        process
        for process in psutil.Process(up.process.pid).children()
        if "code_server" in command_line(process)
    )
    (session,) = query(up, "SELECT pid FROM lalafo.sessions WHERE expires_at > clock_timestamp()")
    server.send_signal(signal.SIGTERM)
    await_state(up, lambda: "starts no runs any more" in up.log.read_text())

    def launched() -> bool:
        with suppress(httpx.HTTPError):
            sent = httpx.post(f"{up.ui_url}/graphql", json={"query": UPKEEP}, timeout=30)
            return "LaunchRunSuccess" in sent.text
        return False

    await_state(up, launched)
    await_state(up, lambda: "SUCCESS" in run_statuses(up).get("upkeep", []))
    alive = query(up, "SELECT pid FROM lalafo.sessions WHERE expires_at > clock_timestamp()")
    assert alive == [session], "the session ended with its code server"


@pytest.mark.timeout(PATIENCE_S * 5)
def test_nothing_that_was_accepted_is_lost_when_a_stack_stops(home: Path) -> None:
    """Shut down, interrupted, killed: each acknowledged ad is scored in the end, every
    caller gets its links, and every run has ended as what it was."""
    up = Up(home, {})
    try:
        subprocess.run([*LALAFO, "releases", "install", "starter", "--home", str(home)], check=True)
        await_state(up, lambda: session_is_live(up))
        shut_the_code_server_down(up)
        with Posting(up, "interrupted") as first:
            await_state(up, lambda: len(first.accepted) > 30)
            kill_postgres(up)
            reached = len(first.accepted)
            await_state(up, lambda: len(first.accepted) > reached + 10)
            up.process.send_signal(signal.SIGINT)
            await_state(up, lambda: not running_gateway(up))
            assert up.stop() == 0, "a second Ctrl-C while it stops"
        refused = {503, "ConnectError", "ReadError", "RemoteProtocolError"}
        assert set(first.answers) <= {200, 202, *refused}
        assert not processes_of(home)

        up = Up(home, {})
        assert set(run_statuses(up)["score_new_ads"][:1]) == {"SUCCESS"}
        await_state(up, lambda: session_is_live(up))
        with Posting(up, "killed") as second:
            await_state(up, lambda: len(second.accepted) > 30)
            os.kill(query_session_pid(up), signal.SIGSTOP)  # what is posted now is lost
            reached = len(second.accepted)
            await_state(up, lambda: len(second.accepted) > reached + 10)
            up.kill_everything()

        up = Up(home, {})
        await_state(up, lambda: query(up, MISSING) == [])
        scored = {ad_id for (ad_id,) in query(up, "SELECT ad_id FROM lalafo.ads")}
        assert scored >= {*first.accepted, *second.accepted}
        assert query(up, "SELECT count(*) > 0 FROM lalafo.accepted_ads WHERE republished > 0") == [
            (True,)
        ]
    finally:
        status = up.stop()
    assert status == 0


def kill_postgres(up: Up) -> None:
    """Kill the server, as the kernel does for lack of memory; the stack starts it again."""
    stack = psutil.Process(up.process.pid)
    file = up.home / "postgres" / "data" / "postmaster.pid"
    os.kill(int(file.read_text().split()[0]), signal.SIGKILL)
    await_state(up, lambda: "PostgreSQL has ended" in up.log.read_text())
    assert stack.is_running()


def running_gateway(up: Up) -> bool:
    try:
        httpx.get(f"{gateway_url(up)}/healthz", timeout=5)
    except (httpx.TransportError, AssertionError):  # AssertionError: the stack has ended
        return False
    return True


def query_session_pid(up: Up) -> int:
    ((pid,),) = query(up, "SELECT pid FROM lalafo.sessions WHERE expires_at > clock_timestamp()")
    return int(pid)


def processes_of(home: Path) -> list[str]:
    """Return the command lines that name the home."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if str(home) in command and process.status() != psutil.STATUS_ZOMBIE:
                found.append(command)
    return found
