"""Statistics for whoever asks, read once for all of them.

Decides that PostgreSQL is asked once a second at most however many look, and a long window less
often, by a thread: no other request waits while figures are added up.
"""

import asyncio
import threading
import time

from gateway.backends.database import GatewayDatabase
from gateway.schemas.ads import Source
from gateway.schemas.links import release_page, run_prefix
from gateway.statistics.lag import LogWatch
from gateway.statistics.queries import read_statistics
from resources.settings import Settings

KEPT_S = 1.0
KEPT_S_PER_MINUTE = 1 / 60
"""Of the window: a day's figures take a tenth of a second to add up, and move slowly."""


class StatisticsCache:
    """What the statistics' route answers; `async with` it."""

    def __init__(self, settings: Settings, database: GatewayDatabase) -> None:
        self._topic = settings.ads_topic
        self._runs = run_prefix(settings.dagster_url)
        self._releases = release_page(settings.dagster_url)
        self._database = database.blocking()
        self._log = LogWatch(settings)
        self._answers: dict[int, tuple[float, bytes]] = {}
        self._reading = asyncio.Lock()
        self._connection = threading.Lock()  # a request that is given up leaves its thread behind

    async def __aenter__(self) -> "StatisticsCache":
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self._reading:
            await asyncio.to_thread(self._close)

    async def json(self, minutes: int) -> bytes:
        """The JSON of `StatisticsOut` for a window, a second old at most (a long window's: a
        second for each hour).

        Raises:
            RetryableError: PostgreSQL is away.
        """
        async with self._reading:
            found = self._answers.get(minutes)
            now = time.monotonic()
            if found is None or now - found[0] >= max(KEPT_S, minutes * KEPT_S_PER_MINUTE):
                self._answers = {m: a for m, a in self._answers.items() if now - a[0] < m + 60}
                found = now, await asyncio.to_thread(self._read, minutes)
                self._answers[minutes] = found
            return found[1]

    def _read(self, minutes: int) -> bytes:
        log = self._log.ends()
        with self._connection, self._database.cursor() as cursor:
            found = read_statistics(
                cursor,
                minutes=minutes,
                topic=self._topic,
                log=log,
                run=self._run,
                release=self._release,
            )
        return found.model_dump_json().encode()

    def _run(self, run_id: str) -> Source:
        return Source(id=run_id, url=None if self._runs is None else self._runs + run_id)

    def _release(self, name: str) -> Source:
        return Source(id=name, url=self._releases)

    def _close(self) -> None:
        with self._connection:
            self._database.close()
        self._log.close()
