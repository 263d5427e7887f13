"""What the gateway owes Kafka: sent right after the commit, and again until acknowledged.

Decides how long a request waits for the acknowledgement, and that rows which nobody sent go out
by themselves. A row is deleted only after its record was acknowledged; what this process leaves
behind, any other gateway or session sends.
"""

import asyncio
import logging
import threading
import time
from collections import deque

from gateway.backends.broker import CLOSE_WITHIN_S, Broker, PendingRecord
from gateway.backends.database import GatewayDatabase
from gateway.problems import unavailable
from ops.errors import ConfigurationError, LalafoError
from resources.kafka.connection import StreamConfig
from resources.kafka.outbox import relay
from resources.settings import Settings

__all__ = ["OutboxRelay", "PendingRecord"]

ANSWER_WITHIN_S = 0.25
LEFT_BEHIND_S = 5.0
RELAY_EVERY_S = 1.0
RELAY_ROWS = 500
DELETE_EVERY_S = 0.05
MOST_COUNTED = 100_000

log = logging.getLogger(__name__)


class OutboxRelay:
    """The gateway's way to Kafka; `async with` it. Starts, and accepts, while Kafka is away.

    Without LALAFO_KAFKA_BOOTSTRAP nothing is sent from here: sessions relay the outbox.

    Raises ConfigurationError if that is not set and `require_broker` is.
    """

    def __init__(self, settings: Settings, database: GatewayDatabase) -> None:
        self.waiting = 0  # rows in the outbox a second ago at most, MOST_COUNTED at most
        self._required = settings.require_broker
        self._rows = database.blocking()
        self._broker: Broker | None = None
        if settings.kafka_bootstrap != "" or settings.require_broker:
            self._broker = Broker(StreamConfig.from_settings(settings), self._acknowledge)
        self._answers: dict[int, asyncio.Future[bool]] = {}
        self._acknowledged: deque[int] = deque()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway-relay", daemon=True)

    async def __aenter__(self) -> "OutboxRelay":
        self._loop = asyncio.get_running_loop()
        if self._broker is None:
            log.warning("LALAFO_KAFKA_BOOTSTRAP is not set: sessions send what the outbox holds")
        else:
            self._broker.start()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._close)

    @property
    def broker_unavailable(self) -> bool:
        """Whether Kafka is known to be away, or not yet known to be there."""
        return self._broker is None or self._broker.state != "here"

    def require_broker(self) -> None:
        """503 where the settings say that nothing is accepted without Kafka, and it is away."""
        if self._required and self.broker_unavailable:
            raise unavailable("Kafka")

    async def publish(self, pending: PendingRecord) -> bool:
        """Whether Kafka acknowledged a committed row's record within ANSWER_WITHIN_S.

        False at once while it is known to be away. Either way the record reaches its topic.
        """
        broker = self._broker
        if broker is None or broker.state == "unavailable":
            return False
        answer: asyncio.Future[bool] = self._loop.create_future()
        self._answers[pending.id] = answer
        broker.send(pending)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await answer
        except TimeoutError:
            broker.suspect(f"no acknowledgement within {ANSWER_WITHIN_S} s")
            return False
        finally:
            self._answers.pop(pending.id, None)

    def _acknowledge(self, number: int, acknowledged: bool) -> None:
        """A record's answer, in a thread of the producer's."""
        if acknowledged:
            self._acknowledged.append(number)
            self._wake.set()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer, number, acknowledged)

    def _answer(self, number: int, acknowledged: bool) -> None:
        answer = self._answers.get(number)
        if answer is not None and not answer.done():
            answer.set_result(acknowledged)

    def _run(self) -> None:
        relay_at = time.monotonic()
        while not self._closing.is_set():
            if self._wake.wait(max(0.0, relay_at - time.monotonic())):
                self._closing.wait(DELETE_EVERY_S)  # others come meanwhile: one transaction
            self._forget()
            if time.monotonic() >= relay_at:
                self._relay()
                relay_at = time.monotonic() + RELAY_EVERY_S
        self._forget()
        self._rows.close()

    def _forget(self) -> None:
        """Delete the rows whose records were acknowledged."""
        self._wake.clear()
        numbers = [self._acknowledged.popleft() for _ in range(len(self._acknowledged))]
        if not numbers:
            return
        try:
            with self._rows.cursor() as cursor:
                # A crash may undo this: then records go out twice, and no row is wrong.
                cursor.execute("SET LOCAL synchronous_commit = off")
                cursor.execute("DELETE FROM lalafo.outbox WHERE id = ANY(%s)", (numbers,))
        except LalafoError as error:
            self._acknowledged.extend(numbers)
            log.warning("rows of the outbox were not deleted: %s", error)

    def _relay(self) -> None:
        try:
            self._count()
            if self._broker is None:
                return
            self._broker.check()
            while not self._closing.is_set():
                sent = relay(
                    self._rows,
                    self._broker.publisher(),
                    older_than_s=LEFT_BEHIND_S,
                    limit=RELAY_ROWS,
                )
                self._forget()
                if sent < RELAY_ROWS:
                    break
        except ConfigurationError as error:
            log.error("the outbox is not all sent: %s", error)
        except LalafoError as error:
            log.info("the outbox waits: %s", error)
        except Exception as error:  # noqa: BLE001 - the thread's edge: the next second tries again
            log.error("relaying broke: %r", error)

    def _count(self) -> None:
        with self._rows.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM (SELECT FROM lalafo.outbox LIMIT %s) AS rows", (MOST_COUNTED,)
            )
            ((self.waiting,),) = cursor.fetchall()

    def _close(self) -> None:
        if self._broker is not None:
            self._broker.close()
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_WITHIN_S)
