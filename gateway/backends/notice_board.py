"""The notices of one gateway process: all callers share the result of one reading.

PostgreSQL is asked at most once in two seconds, in a thread: other requests do not wait for it.
"""

import asyncio
import threading
import time

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.backends.lag import LogWatch
from gateway.backends.notices import read_notices
from gateway.schemas.notices import NoticeOut
from resources.settings import Settings

TTL_S = 2.0
LIMIT_S = 2.0  # of the statements, and of connecting


class NoticeBoard:
    """The notices that hold now. Use with `async with`."""

    def __init__(self, settings: Settings, database: GatewayDatabase, log: LogWatch) -> None:
        self._topic = settings.ads_topic
        self._stream_id = settings.stream_id or None
        self._database = database.blocking(limit_s=LIMIT_S)
        self._log = log
        self._latest: tuple[float, list[NoticeOut]] | None = None
        self._reading = asyncio.Lock()
        # A cancelled request leaves its thread running: the lock keeps others off its connection.
        self._connection = threading.Lock()

    async def __aenter__(self) -> "NoticeBoard":
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self._reading:
            await asyncio.to_thread(self._close)

    async def notices(self) -> list[NoticeOut]:
        """The notices, at most two seconds old.

        Raises:
            RetryableError: PostgreSQL is unavailable.
        """
        async with self._reading:
            if self._latest is None or time.monotonic() - self._latest[0] >= TTL_S:
                found = await self._read_in_thread()
                self._latest = time.monotonic(), found
            return self._latest[1]

    @repeated_once(repeatable=True)
    async def _read_in_thread(self) -> list[NoticeOut]:
        return await asyncio.to_thread(self._read)

    def _read(self) -> list[NoticeOut]:
        log = self._log.ends()
        stream_id = self._stream_id if log is None else log.stream_id
        with self._connection, self._database.cursor() as cursor:
            return read_notices(cursor, topic=self._topic, stream_id=stream_id, log=log)

    def _close(self) -> None:
        with self._connection:
            self._database.close()
