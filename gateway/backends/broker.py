"""The gateway's writer to Kafka, and whether Kafka is there: one producer, fed by one thread.

Decides when the broker counts as away: it refuses connections, a record failed, or an answer was
late; and that any acknowledgement or a new connection heals that. Refuses to know where records
come from, or what becomes of those that it could not send.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from ops.errors import LalafoError, RetryableError
from resources.kafka.connection import StreamConfig, check_reachable
from resources.kafka.publisher import StreamPublisher

STALE_S = 4.0
"""A record that waited here so long is left to the relay, which takes those that are older."""

CLOSE_WITHIN_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """A row of the outbox that was just committed."""

    id: int
    topic: str
    key: bytes
    value: bytes


class Broker:
    """Kafka, as this process reaches it.

    Args:
        told: called for each record that was sent, from any thread: whether it was acknowledged.
    """

    def __init__(self, config: StreamConfig, on_answer: Callable[[int, bool], None]) -> None:
        self.config = config
        self.state: Literal["new", "here", "unavailable"] = "new"
        self._on_answer = on_answer
        self._publisher: StreamPublisher | None = None
        self._renewal = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[float, PendingRecord] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="gateway-publisher", daemon=True)

    def start(self) -> None:
        """Begin to connect, and to send; returns at once."""
        self._thread.start()

    def send(self, pending: PendingRecord) -> None:
        """Send a record soon; `on_answer` says what became of it."""
        self._queue.put((time.monotonic(), pending))

    def suspect(self, why: str) -> None:
        """Count the broker as away, until it shows otherwise."""
        if self.state != "unavailable":
            self.state = "unavailable"
            log.warning("Kafka counts as away: %s", why)

    def check(self) -> None:
        """Look whether it is there, and connect anew where it was away; takes seconds at worst.

        Raises:
            LalafoError: it is not; why.
        """
        try:
            if self.state == "here":
                check_reachable(self.config)
            else:
                self._connect()
        except LalafoError as error:
            self.suspect(str(error))
            raise

    def publisher(self) -> StreamPublisher:
        """The producer, to be shared; RetryableError where there is none."""
        publisher = self._publisher
        if publisher is None:
            raise RetryableError("no Kafka broker was reached")
        return publisher

    def close(self) -> None:
        """Send what is queued, for a short time, and let go."""
        self._queue.put(None)
        self._thread.join(CLOSE_WITHIN_S)
        if self._publisher is not None:
            with suppress(LalafoError):
                self._publisher.close(CLOSE_WITHIN_S)

    def _connect(self) -> None:
        with self._renewal:
            if self.state == "here":
                return  # the other thread was first
            old, self._publisher = self._publisher, None
            if old is not None:
                with suppress(LalafoError):  # what it held is in the outbox
                    old.close(0.0)
            made = StreamPublisher(self.config)
            try:
                made.partitions_for(self.config.ads_topic)  # asks the broker, and warms up
            except BaseException:
                with suppress(LalafoError):
                    made.close(0.0)
                raise
            self._publisher = made
            self._here()

    def _here(self) -> None:
        if self.state == "unavailable":
            log.warning("Kafka is there again")
        self.state = "here"

    def _run(self) -> None:
        with suppress(LalafoError):
            self.check()
        while (item := self._queue.get()) is not None:
            queued_at, pending = item
            if self.state != "here" or time.monotonic() - queued_at > STALE_S:
                self._on_answer(pending.id, False)
            else:
                self._send(pending)

    def _send(self, pending: PendingRecord) -> None:
        def answered(error: LalafoError | None) -> None:
            if error is None:
                self._here()
            elif isinstance(error, RetryableError):
                self.suspect(str(error))
            self._on_answer(pending.id, error is None)

        try:
            self.publisher().publish(pending.topic, pending.key, pending.value).then(answered)
        except LalafoError as error:
            answered(error)
        except Exception as error:  # noqa: BLE001 - the thread's edge: it must go on for the others
            log.error("a record could not be sent: %r", error)
            self._on_answer(pending.id, False)
