"""Publishing of the outbox: records go to Kafka after the commit, until they are acknowledged.

Owns how long a request waits for the acknowledgement, and the relay that sends rows left behind.
A row is deleted only after its record was acknowledged. Rows that this process leaves behind are
sent by any other gateway or session. The relay also puts back the events of accepted ads that the
topic has lost (`resources/upkeep/lost_ads.py`).
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from gateway.backends.broker import CLOSE_WITHIN_S, Broker, PendingRecord
from gateway.backends.database import GatewayDatabase
from gateway.problems import unavailable
from ops.errors import ConfigurationError, LalafoError
from resources.kafka.connection import StreamConfig
from resources.kafka.outbox import relay
from resources.kafka.topics import AdStream
from resources.settings import Settings
from resources.upkeep.lost_ads import LostAds, topic_ends

__all__ = ["OutboxRelay", "PendingRecord"]

ANSWER_WITHIN_S = 0.25
LEFT_BEHIND_S = 5.0
RELAY_EVERY_S = 1.0
RELAY_LIMIT_S = 30.0  # of one transaction, which waits for Kafka's acknowledgements
RELAY_ROWS = 500
LOST_EVERY_S = 10.0
DELETE_EVERY_S = 0.05
MAX_COUNTED = 100_000

log = logging.getLogger(__name__)


class OutboxRelay:
    """Publishes the outbox to Kafka. Use with `async with`.

    It starts also while Kafka is unavailable, and ads are accepted meanwhile. Without
    LALAFO_KAFKA_BOOTSTRAP it sends nothing: sessions relay the outbox.

    Raises:
        ConfigurationError: LALAFO_KAFKA_BOOTSTRAP is not set, and `require_broker` is.
    """

    def __init__(self, settings: Settings, database: GatewayDatabase) -> None:
        self.waiting = 0  # rows in the outbox, counted every second, up to MAX_COUNTED
        self.republished = 0  # accepted ads that the topic had lost, since the start
        self._settings = settings
        self._required = settings.require_broker
        self._rows = database.blocking(limit_s=RELAY_LIMIT_S)
        self._broker: Broker | None = None
        if settings.kafka_bootstrap != "" or settings.require_broker:
            self._broker = Broker(StreamConfig.from_settings(settings), self._acknowledge)
        self._lost = LostAds(settings.ads_topic)
        self._answers: dict[int, asyncio.Future[bool]] = {}
        self._acknowledged: deque[int] = deque()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway-relay", daemon=True)

    async def __aenter__(self) -> "OutboxRelay":
        self._loop = asyncio.get_running_loop()
        if self._broker is None:
            log.warning("LALAFO_KAFKA_BOOTSTRAP is not set: only sessions publish the outbox")
        else:
            self._broker.start()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._close)

    @property
    def broker_unavailable(self) -> bool:
        """Whether Kafka is unavailable, or was not reached yet."""
        return self._broker is None or self._broker.state != "available"

    def require_broker(self) -> None:
        """Raise a Problem (503) if Kafka is unavailable and the setting `require_broker` is on."""
        if self._required and self.broker_unavailable:
            raise unavailable("Kafka")

    async def publish(self, pending: PendingRecord) -> bool:
        """Publish a committed row's record, and wait for its acknowledgement.

        Returns:
            Whether Kafka acknowledged it within ANSWER_WITHIN_S; False at once while Kafka is
            unavailable. In either case the record reaches its topic: the relay sends it later.
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
            broker.mark_unavailable(f"no acknowledgement within {ANSWER_WITHIN_S} s")
            return False
        finally:
            self._answers.pop(pending.id, None)

    def _acknowledge(self, row_id: int, acknowledged: bool) -> None:
        """Handle a record's result; called in a thread of the producer."""
        if acknowledged:
            self._acknowledged.append(row_id)
            self._wake.set()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer, row_id, acknowledged)

    def _answer(self, row_id: int, acknowledged: bool) -> None:
        answer = self._answers.get(row_id)
        if answer is not None and not answer.done():
            answer.set_result(acknowledged)

    def _run(self) -> None:
        relay_at = lost_at = time.monotonic()
        while not self._closing.is_set():
            if self._wake.wait(max(0.0, relay_at - time.monotonic())):
                # Further acknowledgements arrive meanwhile: one transaction deletes all rows.
                self._closing.wait(DELETE_EVERY_S)
            self._delete_acknowledged()
            if time.monotonic() >= relay_at:
                self._attempt("outbox relay", self._relay)
                relay_at = time.monotonic() + RELAY_EVERY_S
            if time.monotonic() >= lost_at and not self.broker_unavailable:
                self._attempt("search for lost ads", self._publish_lost)
                lost_at = time.monotonic() + LOST_EVERY_S
        self._delete_acknowledged()
        self._rows.close()

    def _delete_acknowledged(self) -> None:
        """Delete the rows whose records were acknowledged."""
        self._wake.clear()
        row_ids = [self._acknowledged.popleft() for _ in range(len(self._acknowledged))]
        if not row_ids:
            return
        try:
            with self._rows.cursor() as cursor:
                # A crash may undo the deletion: then records are published twice, which is
                # harmless.
                cursor.execute("SET LOCAL synchronous_commit = off")
                cursor.execute("DELETE FROM lalafo.outbox WHERE id = ANY(%s)", (row_ids,))
        except LalafoError as error:
            self._acknowledged.extend(row_ids)
            log.warning("published outbox rows were not deleted: %s", error)

    def _attempt(self, what: str, step: Callable[[], None]) -> None:
        """Log the errors of a step: the thread must go on, it repeats the step later."""
        try:
            step()
        except ConfigurationError as error:
            log.error("%s failed, a person has to act: %s", what, error)
        except LalafoError as error:
            log.info("%s postponed: %s", what, error)
        except Exception as error:  # noqa: BLE001 - see above
            log.error("%s failed: %r", what, error)

    def _relay(self) -> None:
        self._count()
        if self._broker is None:
            return
        self._broker.check()
        while not self._closing.is_set():
            sent = relay(
                self._rows, self._broker.publisher(), older_than_s=LEFT_BEHIND_S, limit=RELAY_ROWS
            )
            self._delete_acknowledged()
            if sent < RELAY_ROWS:
                break

    def _publish_lost(self) -> None:
        with AdStream.from_settings(self._settings) as stream:  # connects only if it is asked
            published = self._lost.publish(self._rows, lambda: topic_ends(stream))
        if published:
            self.republished += published
            log.warning(
                "%d accepted ads are not scored, and the topic has no record of them any more: "
                "publishing them again",
                published,
            )

    def _count(self) -> None:
        with self._rows.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM (SELECT FROM lalafo.outbox LIMIT %s) AS rows", (MAX_COUNTED,)
            )
            ((self.waiting,),) = cursor.fetchall()

    def _close(self) -> None:
        if self._broker is not None:
            self._broker.close()
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_WITHIN_S)
