"""Sessions at work in threads, beside a test that publishes, breaks things and looks."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Self

from ops.session.ports import SessionPolicy
from ops.session.tally import Tally
from resources.sessions.live import LiveSession, open_session
from tests.support.live_session import Live

PATIENCE_S = 90.0


def until(what: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Look until this is true; AssertionError where it never came."""
    pause, deadline = threading.Event(), time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, f"it never came within {within_s:.0f} s"
        pause.wait(0.02)


class Working:
    """A session in a thread, that goes on until it is told to end, or decides to.

    Args:
        settings: changes to the settings of `live`.
    """

    def __init__(self, live: Live, run_id: str = "run-1", **settings: object) -> None:
        self.live = live
        self.run_id = run_id
        self.total: Tally | None = None
        self.error: BaseException | None = None
        self._opened: LiveSession | None = None
        self._parts = replace(live.parts, settings=live.settings.model_copy(update=dict(settings)))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Tell it to end, and wait until it has."""
        self._end.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the session did not end"

    def _run(self) -> None:
        policy = SessionPolicy(longest_wait_s=0.5, max_records=4)
        try:
            with open_session(
                self._parts,
                run_id=self.run_id,
                report=lambda _: None,
                policy=policy,
                keep_going=lambda: not self._end.is_set(),
            ) as opened:
                self._opened = opened
                self.total = opened.session.run()
        except BaseException as error:  # noqa: BLE001 - the test's thread looks at it
            self.error = error

    @property
    def session(self) -> LiveSession:
        """The session, once it is warm."""
        until(lambda: self.checked()._opened is not None)
        assert self._opened is not None
        return self._opened

    @property
    def partitions(self) -> set[int]:
        """Those that it reads now."""
        return set(self.session.partitions)

    @property
    def ended(self) -> bool:
        """Whether it ended by itself, or as told."""
        return not self.checked()._thread.is_alive()

    def checked(self) -> Self:
        """Itself; the session's error where it has failed."""
        assert self.error is None, self.error
        return self

    def wait_for(self, ads: int) -> None:
        """Until so many ads are in PostgreSQL."""
        until(lambda: self.checked().live.rows("SELECT count(*) FROM lalafo.ads") == [(ads,)])
