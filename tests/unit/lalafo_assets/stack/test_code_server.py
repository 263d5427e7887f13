"""When a code server has to be replaced, decided from its answers."""

import pytest

from lalafo_assets.stack.code_server import SILENT_S, CodeServerWatch


class Server:
    """A code server's answers: True if it refuses runs, an exception if it does not answer."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.answer: bool | Exception = False
        self.watch = CodeServerWatch(self._ask, clock=lambda: self.now)

    def _ask(self) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_working_server_stays(server: Server) -> None:
    """It starts runs."""
    assert server.watch.why_replace() is None


def test_a_server_that_is_shutting_down_is_replaced(server: Server) -> None:
    """It answers, and starts nothing."""
    server.answer = True
    assert "shutting down" in str(server.watch.why_replace())


def test_a_frozen_server_is_replaced_and_a_slow_one_is_not(server: Server) -> None:
    """It has answered, and then does not for SILENT_S; one answer in between is enough."""
    assert server.watch.why_replace() is None
    server.answer = TimeoutError()
    server.now += SILENT_S
    assert server.watch.why_replace() is None
    server.answer = False
    assert server.watch.why_replace() is None
    server.answer = TimeoutError()
    server.now += SILENT_S
    assert server.watch.why_replace() is None
    server.now += 1
    assert "31 s" in str(server.watch.why_replace())


def test_a_server_that_starts_is_given_time(server: Server) -> None:
    """It imports its definitions before it answers for the first time, after a replacement too."""
    server.answer = ConnectionError()
    server.now += 10 * SILENT_S
    assert server.watch.why_replace() is None
    server.answer = False
    assert server.watch.why_replace() is None
    server.watch.started()
    server.answer = ConnectionError()
    server.now += 10 * SILENT_S
    assert server.watch.why_replace() is None
