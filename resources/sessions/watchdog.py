"""Ends the process of a session whose stage does not come back, so that a standby takes over.

The membership's thread would renew the leases of such a session without end. Owns the limits, and
the order of the end: log every thread's stack, release the partitions, exit. The end counts as a
death (`ops/session/careful.py`), so a record that makes a stage hang is found and stepped over.

A native library that holds the interpreter's lock would stop this thread too; for that the timer of
`faulthandler`, which needs no lock, ends the process. Its lease then expires, as nobody renews it.
"""

import faulthandler
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence

import structlog

from ops.session.admission import AdWork
from resources.processes.repeating import RepeatingThread

EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h."""

CLOSE_S = 30.0
"""For the session's threads and clients to end after its stages have; publishing waits up to 10 s.
"""

_RELEASE_S = 1.0
"""The process ends then anyway, and the end of its connection releases its partitions too."""
_STDERR = 2

log = structlog.get_logger()


class Watchdog(RepeatingThread):
    """A thread that watches one session from its start to the end of the block.

    It measures time by its own checks, so that a process that was frozen is not taken for hanging.

    Args:
        limit_s: how long anything at work may take to come back.
        release: releases the session's partitions; it may raise, and may hang.
        end: ends the process with an exit code.
    """

    def __init__(
        self, *, limit_s: float, release: Callable[[], object], end: Callable[[int], object]
    ) -> None:
        self.limit_s = limit_s
        self._release = release
        self._end = end
        self._beats: Callable[[], Mapping[Hashable, int]] = dict
        self._ended: Callable[[], bool] = lambda: False
        self._seen: dict[Hashable, tuple[int, float]] = {}  # the beat, and for how long, in s
        self._closing_s = 0.0
        super().__init__("session-watchdog", every_s=min(1.0, limit_s / 4))

    def run(self) -> None:
        """Check until the block ends; then faulthandler's timer ends too."""
        super().run()
        faulthandler.cancel_dump_traceback_later()

    def watch(self, beats: Callable[[], Mapping[Hashable, int]], ended: Callable[[], bool]) -> None:
        """Start to watch a session: its heartbeats, and whether it has ended."""
        self._beats, self._ended = beats, ended

    def check(self, elapsed_s: float) -> list[Hashable]:
        """What has been at work for `limit_s` without coming back.

        Args:
            elapsed_s: seconds since the last check.
        """
        seen, self._seen = self._seen, {}
        for who, beat in self._beats().items():
            last, for_s = seen.get(who, (None, 0.0))
            self._seen[who] = (beat, for_s + elapsed_s if beat == last else 0.0)
        self._closing_s = self._closing_s + elapsed_s if self._ended() else 0.0
        closing = ["closing"] if self._closing_s >= CLOSE_S else []
        return [*closing, *(who for who, (_, for_s) in self._seen.items() if for_s >= self.limit_s)]

    def end_process(self, hung: Sequence[Hashable]) -> None:
        """Log the stacks of all threads, release the partitions, and end the process."""
        names = [_name(who) for who in hung]
        log.error("session.hangs", stages=names, limit_s=self.limit_s, exit_code=EXIT_CODE)
        faulthandler.dump_traceback(_STDERR, all_threads=True)
        release = threading.Thread(target=self._try_release, daemon=True)
        release.start()
        release.join(_RELEASE_S)
        self._end(EXIT_CODE)

    def step(self) -> bool:
        """Check once, and end the process if something hangs."""
        # The timer of the last check is replaced: it fires if this thread can't run.
        faulthandler.dump_traceback_later(self.limit_s + CLOSE_S, exit=True, file=_STDERR)
        hung = self.check(self.every_s)
        if hung:
            self.end_process(hung)
        return hung != []

    def _try_release(self) -> None:
        try:
            self._release()
        except Exception as error:  # noqa: BLE001 - the process ends, and with it its connection
            log.warning("lease.release_failed", error=type(error).__name__)


def _name(who: Hashable) -> str:
    if isinstance(who, AdWork):
        at = who.receipt
        return f"photos of {who.event.key} ({at.topic}[{at.partition}] offset {at.offset})"
    return str(who)
