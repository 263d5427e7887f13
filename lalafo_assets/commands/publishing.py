"""Publishes lines of events to the gateway, or to the topic directly.

Lines of one ad are published in their order; lines of different ads run concurrently. A line that
can't be published is reported and does not stop the others. `ops/events/parse.py` validates a line
before it is sent, so that an invalid line costs no request. `kafka/publishing.py` publishes to the
topic.
"""

import asyncio
import json
import threading
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from gateway.client import (
    AsyncLalafoClient,
    LalafoApiError,
    NotAllowed,
    RateLimited,
    ServiceUnavailable,
)
from gateway.schemas.ads import Accepted
from ops.errors import BadInputError, LalafoError
from ops.events.parse import EventLimits, parse_event
from ops.events.serialize import event_json
from ops.types import AdEvent, EventKind, StreamRecord

CONCURRENCY = 16
"""Concurrent requests: a gateway on two cores only queues more than that."""
PATIENCE_S = 30.0
MOST_BROKEN = 10
"""Lines in a row that the gateway answers with 500, after which the fault is not the lines'."""
WHITESPACE = b" \t\r\n"  # of JSON
QUEUE_LINES = 8
"""Lines that are queued for each of the concurrent requests."""
READ_AHEAD = 64
NO_LIMITS = EventLimits(max_photos=2**31, max_title_chars=2**31, max_description_chars=2**31)
"""The gateway enforces its own limits."""


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that was not published: it is not valid, or could not be sent."""

    number: int  # from 1
    reason: str
    detail: str


@dataclass(slots=True)
class Published:
    """The progress and the result of publishing a file."""

    accepted: int = 0
    superseded: int = 0  # of those accepted: a higher revision was known
    waiting: int = 0  # of those accepted: Kafka has not acknowledged them yet
    refused: list[RefusedLine] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """The number of lines that are done."""
        return self.accepted + len(self.refused)


def event_of(line: bytes) -> AdEvent:
    """Parse a line as an event of schema 1.

    Raises:
        BadInputError: the line is not a valid event.
    """
    record = StreamRecord(topic="", partition=0, offset=0, timestamp_ms=0, key=None, value=line)
    return parse_event(record, NO_LIMITS)


def ad_of(event: AdEvent) -> dict[str, Any]:
    """Return an event's fields as `POST /v1/ads` expects them."""
    fields: dict[str, Any] = json.loads(event_json(event))
    return {name: fields[name] for name in fields.keys() - {"schema", "event_id", "kind"}}


def publish_lines(
    lines: Iterable[bytes],
    *,
    url: str,
    key: str,
    patience_s: float = PATIENCE_S,
    on_progress: Callable[[Published], object] = lambda _: None,
) -> Published:
    """Publish each line that is not blank through a gateway, and return the result.

    Args:
        patience_s: how long requests are retried while the gateway is unreachable.
        on_progress: called after each line, in the calling thread.

    Raises:
        LalafoApiError: the gateway stays unreachable, or the key may not ingest. Lines that were
            accepted stay accepted. The same file may be published again: revisions make that
            harmless.
    """
    return asyncio.run(_Publishing(on_progress).run(lines, url, key, patience_s))


class _Publishing:
    def __init__(self, on_progress: Callable[[Published], object]) -> None:
        self._on_progress = on_progress
        self._done = Published()
        self._broken_in_a_row = 0

    async def run(self, lines: Iterable[bytes], url: str, key: str, patience_s: float) -> Published:
        queues = [
            asyncio.Queue[tuple[int, AdEvent] | None](QUEUE_LINES) for _ in range(CONCURRENCY)
        ]
        try:
            async with (
                AsyncLalafoClient(url, key, patience_s=patience_s) as client,
                asyncio.TaskGroup() as group,
            ):
                for queue in queues:
                    group.create_task(self._send(client, queue))
                async with aclosing(_numbered(lines)) as numbered:
                    async for number, line in numbered:
                        await self._enqueue(number, line, queues)
                for queue in queues:
                    await queue.put(None)
        except ExceptionGroup as several:
            # Not `except*`: Python 3.11.2 wraps what is raised in it into a group once more.
            failed, unexpected = several.split(LalafoError)
            if failed is None or unexpected is not None:
                raise
            # All failed for the same reason, so the first error is enough.
            raise failed.exceptions[0] from several
        self._done.refused.sort(key=lambda refused: refused.number)
        return self._done

    async def _enqueue(
        self, number: int, line: bytes, queues: list[asyncio.Queue[tuple[int, AdEvent] | None]]
    ) -> None:
        try:
            event = event_of(line)
        except BadInputError as error:
            self._refuse(number, error.reason.value, error.detail)
            return
        # Lines of one ad use the same queue, so that they are published in order.
        await queues[zlib.crc32(str(event.key).encode()) % CONCURRENCY].put((number, event))

    async def _send(
        self, client: AsyncLalafoClient, queue: asyncio.Queue[tuple[int, AdEvent] | None]
    ) -> None:
        while (item := await queue.get()) is not None:
            number, event = item
            try:
                accepted = await _publish(client, event)
            except LalafoApiError as error:
                self._broken_in_a_row += isinstance(error, ServiceUnavailable)
                if not _of_this_line(error) or self._broken_in_a_row > MOST_BROKEN:
                    raise
                reason = error.problem.get("reason", error.kind)
                self._refuse(number, str(reason), error.detail)
                continue
            except Exception as error:  # noqa: BLE001 - of this line; the others go on
                self._refuse(number, "not_sent", f"{type(error).__name__}: {error}")
                continue
            self._broken_in_a_row = 0
            self._done.accepted += 1
            self._done.superseded += accepted.state == "superseded"
            self._done.waiting += not accepted.published
            self._on_progress(self._done)

    def _refuse(self, number: int, reason: str, detail: str) -> None:
        self._done.refused.append(RefusedLine(number, reason, detail))
        self._on_progress(self._done)


async def _publish(client: AsyncLalafoClient, event: AdEvent) -> Accepted:
    if event.kind is EventKind.DELETED:
        return await client.delete_ad(event.key.catalog, event.key.ad_id, revision=event.revision)
    return await client.post_ad(ad_of(event))


def _of_this_line(error: LalafoApiError) -> bool:
    """Whether the error concerns this line alone: an unreachable gateway, or a key that may not
    ingest, fails every line."""
    if isinstance(error, ServiceUnavailable):
        return error.status == HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, NotAllowed):
        return error.kind == "other_catalog"
    return not isinstance(error, RateLimited)


async def _numbered(lines: Iterable[bytes]) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the lines that are not blank, with their numbers.

    A daemon thread reads them: a pipe may be silent for hours, and neither Ctrl-C nor a gateway's
    failure may have to wait for its next line.
    """
    loop = asyncio.get_running_loop()
    read: asyncio.Queue[tuple[int, bytes] | OSError | None] = asyncio.Queue()
    slots, ended = threading.Semaphore(READ_AHEAD), threading.Event()

    def enqueue(item: tuple[int, bytes] | OSError | None) -> None:
        slots.acquire()
        loop.call_soon_threadsafe(read.put_nowait, item)

    def read_all() -> None:
        # RuntimeError: the event loop is closed by now, and the rest is not needed.
        with suppress(RuntimeError):
            try:
                for number, line in enumerate(lines, start=1):
                    if ended.is_set():
                        return
                    if line.strip(WHITESPACE):
                        enqueue((number, line.strip(WHITESPACE)))
                enqueue(None)
            except OSError as error:
                enqueue(error)

    threading.Thread(target=read_all, name="lines", daemon=True).start()
    try:
        while (item := await read.get()) is not None:
            slots.release()
            if isinstance(item, OSError):
                raise item
            yield item
    finally:
        ended.set()
        slots.release()
