"""With which priority a session's process loads its model: the first at once, others idle."""

import os
import sys
from pathlib import Path

import pytest

from tests.integration.resources.sessions.test_several_sessions import PARTITIONS, Town, town
from tests.support.session_process_parts import loads_at

__all__ = ["town"]  # a fixture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="policies of threads are Linux's")


def policies(pid: int) -> set[int]:
    return {os.sched_getscheduler(int(it.name)) for it in Path(f"/proc/{pid}/task").iterdir()}


def loaded_at(town: Town, run_id: str) -> int:
    return int(loads_at(town.settings, run_id).read_text())


def test_the_first_session_loads_at_normal_priority_and_a_standby_idle(town: Town) -> None:
    """Both are normal once they are ready: the standby may have to score at any moment."""
    first = town.start("first", sessions=2, background_priority="idle")
    town.wait(lambda: len(town.holders()) == PARTITIONS)
    assert loaded_at(town, "first") == os.SCHED_OTHER
    standby = town.start("standby", sessions=2, background_priority="idle")
    town.wait(lambda: town.states() == {"first": "ready", "standby": "ready"})
    assert loaded_at(town, "standby") == os.SCHED_IDLE
    assert policies(first.pid) == policies(standby.pid) == {os.SCHED_OTHER}


def test_sessions_that_start_together_are_both_normal(town: Town) -> None:
    """Neither of them scores yet, so every ad waits for them."""
    for name in ("one", "two"):
        town.start(name, sessions=2, background_priority="idle")
    town.wait(lambda: town.states() == {"one": "ready", "two": "ready"})
    assert os.SCHED_OTHER in {loaded_at(town, "one"), loaded_at(town, "two")}
