"""Sessions that run in threads, while the test publishes, injects faults and checks results."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Self

from ops.session.ports import SessionPolicy
from ops.session.tally import Tally
from resources.sessions.live import LiveSession, run_session
from tests.support.live_session import Live

PATIENCE_S = 90.0


def until(condition: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Wait until a condition is true; AssertionError if it is not in time."""
    pause, deadline = threading.Event(), time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not true within {within_s:.0f} s"
        pause.wait(0.02)


class Working:
    """A session in a thread, which runs until `end` is called or it ends by itself.

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
        """End the session and wait for it."""
        self._end.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the session did not end"

    def _run(self) -> None:
        policy = SessionPolicy(longest_wait_s=0.5, max_records=4)
        try:
            self.total = run_session(
                self._parts,
                run_id=self.run_id,
                report=lambda _: None,
                policy=policy,
                opened=self._now_open,
                keep_going=lambda: not self._end.is_set(),
            )
        except BaseException as error:  # noqa: BLE001 - the test's thread checks it
            self.error = error

    def _now_open(self, session: LiveSession) -> None:
        self._opened = session

    @property
    def session(self) -> LiveSession:
        """The session; waits until it is warm."""
        until(lambda: self.checked()._opened is not None)
        assert self._opened is not None
        return self._opened

    @property
    def partitions(self) -> set[int]:
        """The partitions that it reads now."""
        return set(self.session.partitions)

    @property
    def ended(self) -> bool:
        """Whether it has ended, by itself or by `end`."""
        return not self.checked()._thread.is_alive()

    def checked(self) -> Self:
        """Return self; AssertionError with the session's error if it has failed."""
        assert self.error is None, self.error
        return self

    def wait_for(self, ads: int) -> None:
        """Wait until this many ads are in PostgreSQL."""
        until(lambda: self.checked().live.rows("SELECT count(*) FROM lalafo.ads") == [(ads,)])
