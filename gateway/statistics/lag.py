"""Where the log of events begins and ends, as Kafka says: asked by a thread, and only while
somebody wants to know.

Decides that nobody waits for a broker that is away: then there is no answer. What of the log is
committed is PostgreSQL's to say.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ops.errors import LalafoError
from resources.kafka.topics import AdStream
from resources.settings import Settings

ASKED_EVERY_S = 2.0
KEPT_S = 10.0  # an answer that is older is none
FIRST_WITHIN_S = 0.5
_CLOSE_WITHIN_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogEnds:
    """The log of `ads`, at a moment (UTC)."""

    stream_id: str
    begins: Mapping[int, int]  # the first offset, by partition
    ends: Mapping[int, int]  # the next offset to be given, by partition
    asked_at: datetime


class LogWatch:
    """Asks Kafka for one process; its methods are for threads, not for the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stream: AdStream | None = None
        self._found: tuple[float, LogEnds | None] | None = None
        self._wanted, self._answered, self._over = (threading.Event() for _ in range(3))
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def ends(self) -> LogEnds | None:
        """What Kafka said within the last seconds; None while it says nothing.

        The first call, and one after a long silence, waits for an answer, but not for long.
        """
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-watch", daemon=True)
                self._thread.start()
        if self._known() is None:
            self._answered.clear()
            self._wanted.set()
            self._answered.wait(FIRST_WITHIN_S)
        self._wanted.set()
        known = self._known()
        return None if known is None else known[1]

    def close(self) -> None:
        """Ask no more."""
        self._over.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_WITHIN_S)

    def _known(self) -> tuple[float, LogEnds | None] | None:
        found = self._found
        return found if found is not None and time.monotonic() - found[0] < KEPT_S else None

    def _run(self) -> None:
        while not self._over.is_set():
            self._wanted.wait()
            self._wanted.clear()
            if self._over.is_set():
                break
            self._found = (time.monotonic(), self._ask())
            self._answered.set()
            self._over.wait(ASKED_EVERY_S)
        self._close_consumer()

    def _ask(self) -> LogEnds | None:
        try:
            if self._stream is None:
                self._stream = AdStream.from_settings(self._settings)
            return LogEnds(
                self._stream.stream_id(),
                self._stream.beginning_offsets(),
                self._stream.end_offsets(),
                datetime.now(UTC),
            )
        except LalafoError as error:
            log.info("Kafka does not say where its log ends: %s", error)
        except Exception as error:  # noqa: BLE001 - the thread's edge: it must go on asking
            log.error("asking Kafka where its log ends broke: %r", error)
        self._close_consumer()
        return None

    def _close_consumer(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                stream.close()
            except Exception as error:  # noqa: BLE001 - it is given up anyway
                log.info("Kafka was left without a word: %r", error)
