"""A cache of the statistics: all callers share the result of one query.

PostgreSQL is queried at most once per second, and less often for a long window, in a thread: other
requests do not wait for the query.
"""

import asyncio
import threading
import time

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.backends.lag import LogWatch
from gateway.backends.store import StoreWatch
from gateway.schemas.ads import Source
from gateway.schemas.links import release_page, run_prefix
from gateway.statistics.queries import read_statistics
from ops.errors import RetryableError
from resources.settings import Settings

TTL_S = 1.0
LIMIT_S = 2.0  # of the queries, and of connecting
TTL_S_PER_MINUTE = 1 / 60
"""Per minute of the window: a day's query takes a tenth of a second, and its result changes slowly.
"""


class StatisticsCache:
    """Responses of the statistics route, by window. Use with `async with`."""

    def __init__(
        self, settings: Settings, database: GatewayDatabase, store: StoreWatch, log: LogWatch
    ) -> None:
        self._topic = settings.ads_topic
        self._runs = run_prefix(settings.dagster_url)
        self._releases = release_page(settings.dagster_url)
        self._database = database.blocking(limit_s=LIMIT_S)
        self._log = log
        self._store = store
        self._answers: dict[int, tuple[float, bytes]] = {}
        self._failed: tuple[float, RetryableError] | None = None
        self._reading = asyncio.Lock()
        # A cancelled request leaves its thread running: the lock keeps others off its connection.
        self._connection = threading.Lock()

    async def __aenter__(self) -> "StatisticsCache":
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self._reading:
            await asyncio.to_thread(self._close)

    async def json(self, minutes: int) -> bytes:
        """The JSON of `StatisticsOut` for a window.

        It is at most one second old, or one second per hour of a long window.

        Raises:
            RetryableError: PostgreSQL is unavailable.
        """
        asked_at = time.monotonic()
        async with self._reading:
            # A request that waited while another failed would wait as long again.
            if self._failed is not None and self._failed[0] > asked_at:
                raise RetryableError(str(self._failed[1])) from self._failed[1]
            cached = self._answers.get(minutes)
            now = time.monotonic()
            if cached is None or now - cached[0] >= max(TTL_S, minutes * TTL_S_PER_MINUTE):
                self._answers = {m: a for m, a in self._answers.items() if now - a[0] < m + 60}
                cached = now, await self._query(minutes)
                self._answers[minutes] = cached
            return cached[1]

    async def _query(self, minutes: int) -> bytes:
        try:
            return await self._read_in_thread(minutes)
        except RetryableError as error:
            self._failed = time.monotonic(), error
            raise

    @repeated_once(repeatable=True)
    async def _read_in_thread(self, minutes: int) -> bytes:
        return await asyncio.to_thread(self._read, minutes)

    def _read(self, minutes: int) -> bytes:
        log = self._log.ends()
        with self._connection, self._database.cursor() as cursor:
            statistics = read_statistics(
                cursor,
                minutes=minutes,
                topic=self._topic,
                log=log,
                store_problem=self._store.last_problem,
                run=self._run,
                release=self._release,
            )
        return statistics.model_dump_json().encode()

    def _run(self, run_id: str) -> Source:
        return Source(id=run_id, url=None if self._runs is None else self._runs + run_id)

    def _release(self, name: str) -> Source:
        return Source(id=name, url=self._releases)

    def _close(self) -> None:
        with self._connection:
            self._database.close()
