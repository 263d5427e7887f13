"""The first minutes of `lalafo up` on an empty home: ads are scored, and nothing ends as a failure.

Ctrl-C and SIGTERM come at every moment of a session's start: before its run begins its work, while
it loads its releases, and once it is ready.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from lalafo_assets.stack.supervisor import running_stack
from ops.errors import RetryableError
from tests.e2e.test_stack_faults import PATIENCE_S, Up
from tests.e2e.test_stack_stop import (
    UPKEEP,
    await_state,
    home,
    query,
    run_statuses,
    session_is_live,
)
from tests.support.command_lines import command_line
from tests.support.session_process import wait_for

__all__ = ["home"]  # a fixture

pytestmark = [pytest.mark.stack]

ENDED = {"SUCCESS", "CANCELED"}
AD = {"catalog": "kg", "ad_id": "1", "title": "a chair"}


@pytest.fixture
def stacks(home: Path) -> Iterator[list[Up]]:
    """The stacks of a test, each stopped at the end."""
    started: list[Up] = []
    yield started
    for up in started:
        if up.process.poll() is None:
            up.stop()


def warming(up: Up) -> bool:
    return query(up, "SELECT state FROM lalafo.sessions WHERE state = 'warming'") != []


def begun(up: Up) -> bool:
    return run_statuses(up).get("score_new_ads", [])[-1:] == ["STARTED"]


def reached(moment: Callable[[Up], bool], up: Up) -> bool:
    """Whether it is reached; False while PostgreSQL is not up."""
    with suppress(psycopg.OperationalError, RetryableError):
        return moment(up)
    return False


@pytest.mark.timeout(PATIENCE_S * 6)
def test_an_empty_home_scores_its_first_ad_and_stops_without_a_failure(
    home: Path, stacks: list[Up]
) -> None:
    """The default release is installed, and what it is worth is said. Interrupted at any moment of
    a session's start, its run is no failure, at once and after the next start."""
    up = Up(home, {}, "--release")
    stacks.append(up)
    stack = running_stack(home)
    assert stack is not None
    said = up.log.read_text()
    assert "no release was live: installed mobilenet_v3_small-" in said
    assert "learned its categories from drawn photos only" in said
    answer = httpx.post(f"{stack.gateway_url}/v1/ads?wait=30", json=AD, timeout=60)
    assert answer.status_code in (200, 202), answer.text
    await_state(up, lambda: query(up, "SELECT ad_id FROM lalafo.ads") == [("1",)])
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(60) == 0

    for moment in (begun, warming, session_is_live):
        # A session starts before the stack is up: the moments pass while it starts.
        up = Up(home, {}, "--release", awaited=False)
        stacks.append(up)
        wait_for(lambda at=moment, of=up: reached(at, of), up.log.read_text, PATIENCE_S)
        assert "installed" not in up.log.read_text()
        assert set(run_statuses(up)["score_new_ads"]) <= {*ENDED, "STARTED", "STARTING", "QUEUED"}
        assert up.stop() in (0, 130)  # 130: interrupted before the stack was up

    up = Up(home, {}, "--release")
    stacks.append(up)
    await_state(up, lambda: session_is_live(up))
    *before, last = run_statuses(up)["score_new_ads"]
    assert set(before) <= ENDED and before[0] == "SUCCESS" and last == "STARTED", before
    assert query(up, "SELECT error FROM lalafo.sessions WHERE error IS NOT NULL") == []


@pytest.mark.timeout(PATIENCE_S * 3)
def test_the_stack_and_the_sensor_start_one_session_together(home: Path, stacks: list[Up]) -> None:
    """The stack requests the first session under the sensor's run key, before the daemon runs. It
    is forked from a process with the libraries, and is normal; a run that no ad waits for is idle.
    """
    up = Up(home, {"LALAFO_BACKGROUND_PRIORITY": "idle"}, "--release")
    stacks.append(up)
    await_state(up, lambda: session_is_live(up))
    ticks = "SELECT count(*) FROM job_ticks WHERE type = 'SENSOR' AND status = 'SKIPPED'"
    before = query(up, ticks, database="dagster")[0][0]
    await_state(up, lambda: query(up, ticks, database="dagster")[0][0] >= before + 4)
    keys = "SELECT value FROM run_tags WHERE key = 'dagster/run_key' AND value LIKE 'after %'"
    assert query(up, keys, database="dagster") == [("after the first, 0",)]
    assert run_statuses(up)["score_new_ads"] == ["STARTED"]
    ((session,),) = query(up, "SELECT pid FROM lalafo.sessions")
    assert "multiprocessing.forkserver" in command_line(psutil.Process(session))
    assert os.sched_getscheduler(session) == os.SCHED_OTHER
    sent = httpx.post(f"{up.ui_url}/graphql", json={"query": UPKEEP}, timeout=30)
    assert "LaunchRunSuccess" in sent.text
    seen: set[int] = set()

    def upkeep_is_idle() -> bool:
        forks = psutil.Process(psutil.Process(session).ppid()).children()
        with suppress(ProcessLookupError):
            seen.update(os.sched_getscheduler(it.pid) for it in forks if it.pid != session)
        return os.SCHED_IDLE in seen

    await_state(up, upkeep_is_idle)
