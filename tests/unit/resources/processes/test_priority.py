"""Idle priority, in real processes: which threads yield, and which are normal again afterwards."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from resources.processes.priority import (
    FOLLOWER_NICE,
    become_follower,
    become_idle,
    make_idle,
    run_idle,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="policies of threads are Linux's")

ORDINARY_USER = 65_534
_spawn = multiprocessing.get_context("spawn")


def policies(pid: int) -> list[int]:
    return [os.sched_getscheduler(int(it.name)) for it in Path(f"/proc/{pid}/task").iterdir()]


def answer(to: Connection, user: int | None, work: Callable[[], object]) -> None:
    """In the process under test: do the work, and send what it returns."""
    if user is not None:
        os.setgid(user)
        os.setuid(user)
    to.send(work())


def in_a_process(work: Callable[[], object], *, user: int | None = None) -> dict[str, list[int]]:
    here, there = _spawn.Pipe()
    process = _spawn.Process(target=answer, args=(there, user, work))
    process.start()
    assert here.poll(60)
    found: dict[str, list[int]] = here.recv()
    process.join(60)
    assert process.exitcode == 0
    return found


def warm_up() -> dict[str, list[int]]:
    """The policies before, during and after; the work leaves a thread behind, as libraries do."""
    stays, main = threading.Event(), threading.get_native_id()

    def work() -> list[int]:
        threading.Thread(target=stays.wait, daemon=True).start()
        return [os.sched_getscheduler(0), os.sched_getscheduler(main)]

    before = policies(os.getpid())
    during = run_idle(work, needed=lambda: False)
    deadline = time.monotonic() + 90
    # A thread that was joined may exist for another instant.
    while len(after := policies(os.getpid())) != len(before) + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    return {"before": before, "during": during, "after": after}


def needed_warm_up() -> dict[str, list[int]]:
    """Its work ends only once its own thread is normal."""
    began = threading.Event()

    def work() -> list[int]:
        found = [os.sched_getscheduler(0)]
        began.set()
        deadline = time.monotonic() + 90
        while os.sched_getscheduler(0) == os.SCHED_IDLE and time.monotonic() < deadline:
            time.sleep(0.01)
        return [*found, os.sched_getscheduler(0)]

    return {"seen": run_idle(work, needed=began.is_set)}


def background() -> dict[str, list[int]]:
    """What a run that no ad waits for does at its start; a child inherits it."""
    become_idle()
    child = subprocess.run(
        [sys.executable, "-I", "-c", "import os; print(os.sched_getscheduler(0))"],
        capture_output=True,
        check=True,
    )
    return {"own": policies(os.getpid()), "child": [int(child.stdout)]}


def test_a_warm_up_yields_and_the_process_is_normal_afterwards() -> None:
    """Its thread alone is idle; what it leaves behind is normal too, where the user may do that."""
    found = in_a_process(warm_up)
    assert found["during"] == [os.SCHED_IDLE, os.SCHED_OTHER]
    assert set(found["before"]) == {os.SCHED_OTHER}
    may_return = os.geteuid() == 0
    assert set(found["after"]) <= {os.SCHED_OTHER} | (set() if may_return else {os.SCHED_IDLE})
    assert len(found["after"]) == len(found["before"]) + 1


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_an_ordinary_users_other_threads_are_normal() -> None:
    """Without the right to leave SCHED_IDLE, only a thread that the work left behind keeps it."""
    found = in_a_process(warm_up, user=ORDINARY_USER)
    assert found["during"] == [os.SCHED_IDLE, os.SCHED_OTHER]
    assert found["after"].count(os.SCHED_IDLE) == 1
    assert found["after"].count(os.SCHED_OTHER) == len(found["before"])


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's thread stays idle")
def test_a_warm_up_that_is_needed_becomes_normal() -> None:
    """While it runs: the session that it stands by for has ended."""
    assert in_a_process(needed_warm_up)["seen"] == [os.SCHED_IDLE, os.SCHED_OTHER]


def test_an_error_of_the_work_is_raised_to_the_caller() -> None:
    """As the call itself would raise it."""
    process = _spawn.Process(target=_raises, args=(ValueError,))
    process.start()
    process.join(60)
    assert process.exitcode == 0


def _raises(kind: type[Exception]) -> None:
    def fail() -> None:
        raise kind("no release is live")

    try:
        run_idle(fail, needed=lambda: False)
    except kind:
        return
    raise AssertionError("it was lost")


def test_a_background_process_is_idle_with_its_children() -> None:
    """Every thread of it, and whatever it starts."""
    found = in_a_process(background)
    assert set(found["own"]) == {os.SCHED_IDLE}
    assert found["child"] == [os.SCHED_IDLE]


def follower() -> dict[str, list[int]]:
    """What a run that follows commits does at its start; repeated, it changes nothing."""
    become_follower()
    become_follower()
    seen = subprocess.run(
        [sys.executable, "-I", "-c", "import os; print(os.nice(0))"], capture_output=True, text=True
    )
    return {"nice": [os.nice(0), int(seen.stdout)], "policies": policies(os.getpid())}


def test_a_process_that_follows_the_stream_has_low_priority() -> None:
    """It yields, and is not idle: it gets a share of cores that others use."""
    found = in_a_process(follower)
    assert found["nice"] == [FOLLOWER_NICE, FOLLOWER_NICE]
    assert set(found["policies"]) == {os.SCHED_OTHER}


def test_a_process_can_be_made_idle_by_its_parent() -> None:
    """All its threads."""
    waits = "import threading; threading.Thread(target=input).start(); print('on', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-I", "-c", waits],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == b"on\n"
        assert set(policies(process.pid)) == {os.SCHED_OTHER}
        make_idle(process.pid)
        assert set(policies(process.pid)) == {os.SCHED_IDLE}
        process.stdin.write(b"\n")
        process.stdin.close()
