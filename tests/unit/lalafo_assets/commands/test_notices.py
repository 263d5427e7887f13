"""Notices in the terminal: each is said once, when it begins to hold."""

from gateway.schemas.notices import NoticeOut
from lalafo_assets.commands.notices import READ_EVERY_S, NoticeWatch, line
from ops.errors import RetryableError

NO_RELEASE = NoticeOut(
    code="no_release", severity="error", message="No [release].", action="lalafo up", at=None
)
LOADING = NoticeOut(code="no_sessions", severity="info", message="Loads.", action=None, at=None)


class Stack:
    """A stack whose notices the test chooses, and what has been said of it."""

    def __init__(self) -> None:
        self.now, self.notices, self.said = 0.0, [NO_RELEASE], list[str]()
        self.is_out = False
        self.watch = NoticeWatch(self._read, self.said.append, clock=lambda: self.now)

    def _read(self) -> list[NoticeOut]:
        if self.is_out:
            raise RetryableError("PostgreSQL does not answer")
        return self.notices

    def later(self) -> list[str]:
        """What has been said after the next reading."""
        self.now += READ_EVERY_S
        self.watch.check()
        return self.said


def test_a_notice_is_said_once_while_it_holds() -> None:
    """And again if it holds again; what only says that a session is loading is not."""
    stack = Stack()
    assert stack.later() == stack.later() == [line(NO_RELEASE)]
    stack.notices = [LOADING]
    assert len(stack.later()) == 1
    stack.notices = [NO_RELEASE]
    assert stack.later() == [line(NO_RELEASE)] * 2


def test_an_outage_is_waited_for() -> None:
    """The stack starts PostgreSQL again; the same notice is not said again after it."""
    stack = Stack()
    stack.later()
    stack.is_out = True
    assert len(stack.later()) == 1
    stack.is_out = False
    assert len(stack.later()) == 1


def test_a_line_has_the_message_and_what_helps() -> None:
    """Brackets of an error's text are no markup."""
    text = line(NO_RELEASE)
    assert "No \\[release]." in text and text.endswith("→  lalafo up")
