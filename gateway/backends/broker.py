"""The gateway's Kafka producer and the broker's state: one producer, fed by one thread.

The broker becomes unavailable when it refuses a connection, a record fails, or an acknowledgement
is late; any acknowledgement or new connection makes it available again. Does not depend on where
records come from, and does not retry those that it could not send.
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
from ops.events.traceparent import headers_of
from resources.kafka.connection import StreamConfig, check_reachable
from resources.kafka.publisher import StreamPublisher

STALE_S = 4.0
"""A record that was queued for longer is left to the relay, which sends older rows."""

CLOSE_WITHIN_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """An outbox row that was just committed and is not published yet."""

    id: int
    topic: str
    key: bytes
    value: bytes
    traceparent: str | None = None


class Broker:
    """This process's connection to Kafka.

    Args:
        on_answer: called once for each record, from any thread, with the row's id and whether the
            record was acknowledged.
    """

    def __init__(self, config: StreamConfig, on_answer: Callable[[int, bool], None]) -> None:
        self.config = config
        self.state: Literal["new", "available", "unavailable"] = "new"
        self._on_answer = on_answer
        self._publisher: StreamPublisher | None = None
        self._renewal = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[float, PendingRecord] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="gateway-publisher", daemon=True)

    def start(self) -> None:
        """Start connecting and sending in a thread; returns at once."""
        self._thread.start()

    def send(self, pending: PendingRecord) -> None:
        """Queue a record; `on_answer` reports the result."""
        self._queue.put((time.monotonic(), pending))

    def mark_unavailable(self, reason: str) -> None:
        """Set the state to unavailable, until an acknowledgement or a new connection."""
        if self.state != "unavailable":
            self.state = "unavailable"
            log.warning("Kafka is unavailable: %s", reason)

    def check(self) -> None:
        """Check that the broker is reachable; reconnect if it was not. Takes seconds at worst.

        Raises:
            LalafoError: the broker is not reachable.
        """
        try:
            if self.state == "available":
                check_reachable(self.config)
            else:
                self._connect()
        except LalafoError as error:
            self.mark_unavailable(str(error))
            raise

    def publisher(self) -> StreamPublisher:
        """The shared producer.

        Raises:
            RetryableError: there is none, because no broker was reached yet.
        """
        publisher = self._publisher
        if publisher is None:
            raise RetryableError("no Kafka broker was reached")
        return publisher

    def close(self) -> None:
        """Send what is queued, for at most CLOSE_WITHIN_S, and close the producer."""
        self._queue.put(None)
        self._thread.join(CLOSE_WITHIN_S)
        if self._publisher is not None:
            with suppress(LalafoError):
                self._publisher.close(CLOSE_WITHIN_S)

    def _connect(self) -> None:
        with self._renewal:
            if self.state == "available":
                return  # another thread has connected meanwhile
            old, self._publisher = self._publisher, None
            if old is not None:
                with suppress(LalafoError):  # its unsent records are in the outbox
                    old.close(0.0)
            publisher = StreamPublisher(self.config)
            try:
                # Connects to the broker, and caches the topic's metadata.
                publisher.partitions_for(self.config.ads_topic)
            except BaseException:
                with suppress(LalafoError):
                    publisher.close(0.0)
                raise
            self._publisher = publisher
            self._mark_available()

    def _mark_available(self) -> None:
        if self.state == "unavailable":
            log.warning("Kafka is available again")
        self.state = "available"

    def _run(self) -> None:
        with suppress(LalafoError):
            self.check()
        while (item := self._queue.get()) is not None:
            queued_at, pending = item
            if self.state != "available" or time.monotonic() - queued_at > STALE_S:
                self._on_answer(pending.id, False)
            else:
                self._send(pending)

    def _send(self, pending: PendingRecord) -> None:
        def on_delivery(error: LalafoError | None) -> None:
            if error is None:
                self._mark_available()
            elif isinstance(error, RetryableError):
                self.mark_unavailable(str(error))
            self._on_answer(pending.id, error is None)

        try:
            headers = headers_of(pending.traceparent)
            self.publisher().publish(pending.topic, pending.key, pending.value, headers).then(
                on_delivery
            )
        except LalafoError as error:
            on_delivery(error)
        except Exception as error:  # noqa: BLE001 - the thread must go on with the other records
            log.error("a record could not be sent: %r", error)
            self._on_answer(pending.id, False)
