"""The watchdog: what is at work and does not come back ends the process, and nothing else does."""

import threading
from collections.abc import Hashable

import pytest
import structlog

from ops.session.heartbeats import Heartbeats
from resources.sessions.watchdog import CLOSE_S, EXIT_CODE, Watchdog


class Process:
    """What a watchdog does to its process."""

    def __init__(self, limit_s: float = 10.0) -> None:
        self.calls: list[object] = []
        self.beats = Heartbeats()
        self.ended = threading.Event()
        self.watchdog = Watchdog(
            limit_s=limit_s, release=lambda: self.calls.append("release"), end=self.calls.append
        )
        self.watchdog.watch(self.beats.read, self.ended.is_set)

    def hung_after(self, seconds: int) -> list[Hashable]:
        """Check once a second; what hangs in the end."""
        hung: list[Hashable] = []
        for _ in range(seconds):
            hung = self.watchdog.check(1.0)
        return hung


def test_a_stage_that_does_not_come_back_is_noticed() -> None:
    """After the limit, not before; the others are not named."""
    process = Process()
    process.beats.beat("intake")
    for _ in range(10):
        process.beats.beat("model")
        assert process.watchdog.check(1.0) == []
    process.beats.beat("model")
    assert process.watchdog.check(1.0) == ["intake"]


def test_a_stage_that_waits_for_work_does_not_hang() -> None:
    """However long; the time starts with its next work."""
    process = Process()
    process.beats.beat("model")
    process.hung_after(8)
    process.beats.rest("model")
    assert process.hung_after(100) == []
    process.beats.beat("model")
    assert process.hung_after(10) == []
    assert process.hung_after(1) == ["model"]


def test_a_count_that_starts_at_zero_is_watched() -> None:
    """The ads in process beat by a count of those that ended, and none has yet."""
    process = Process()
    process.watchdog.watch(lambda: {"ads in process": 0}, process.ended.is_set)
    assert process.hung_after(10) == []
    assert process.hung_after(1) == ["ads in process"]


def test_a_retry_of_an_outage_beats() -> None:
    """A long outage is no hang: each attempt comes back. A resting stage goes on resting."""
    process = Process()
    process.beats.beat("commit")
    for _ in range(100):
        process.beats.beat_again("commit")
        process.beats.beat_again("resting")
        assert process.watchdog.check(5.0) == []
    assert process.beats.read().keys() == {"commit"}


def test_loading_a_model_does_not_count() -> None:
    """Nothing hangs meanwhile, and afterwards the time starts again."""
    process = Process()
    process.beats.beat("commit")
    with process.beats.paused():
        assert process.hung_after(1_000) == []
    assert process.hung_after(10) == []
    assert process.hung_after(1) == ["commit"]


def test_a_session_that_does_not_close_is_ended() -> None:
    """Its stages have ended, but a client or a thread of it has not."""
    process = Process()
    process.ended.set()
    assert process.hung_after(int(CLOSE_S) - 1) == []
    assert process.hung_after(1) == ["closing"]


@pytest.mark.parametrize("broken", [False, True])
def test_the_process_ends_after_its_partitions_are_released(broken: bool) -> None:
    """Also if the release raises; the log names what hangs."""
    process = Process()
    if broken:
        process.watchdog._release = lambda: 1 / 0
    with structlog.testing.capture_logs() as logs:
        process.watchdog.end_process(["session-intake"])
    assert process.calls == ([] if broken else ["release"]) + [EXIT_CODE]
    (line,) = [line for line in logs if line["event"] == "session.hangs"]
    assert (line["stages"], line["log_level"]) == (["session-intake"], "error")


def test_its_thread_checks_by_itself() -> None:
    """And it ends with the block."""
    process = Process(limit_s=0.02)
    ended = threading.Event()
    process.watchdog._end = lambda _: ended.set()
    process.beats.beat("intake")
    with process.watchdog:
        assert ended.wait(20)
    assert process.calls == ["release"]
