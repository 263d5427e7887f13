"""Waiting for the commit of an ad: one connection runs LISTEN and wakes the waiting requests.

Nothing polls. A lost connection wakes every waiting request, which then reads its ad itself.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from gateway.backends.database import GatewayDatabase
from ops.errors import RetryableError
from ops.types import AdKey
from resources.postgres.commit_notices import CHANNEL, token, tokens_of

RECONNECT_S = 0.5

log = logging.getLogger(__name__)


class CommitWatch:
    """Listens for commits and sets the events of the waiting requests. Use with `async with`."""

    def __init__(self, database: GatewayDatabase) -> None:
        self._database = database
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self.stopping = False  # the server stops: nobody may wait any more

    async def __aenter__(self) -> "CommitWatch":
        self._task = asyncio.create_task(self._listen(), name="commits")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    @contextmanager
    def expect(self, key: AdKey) -> Iterator[asyncio.Event]:
        """An event that is set at each commit of the ad from now on. Call this before accepting.

        The event is also set where a commit notice may have been missed: the caller must read the
        ad, and may clear the event and wait again.
        """
        woken, name = asyncio.Event(), token(key)
        self._waiting[name].add(woken)
        try:
            yield woken
        finally:
            self._waiting[name].discard(woken)
            if not self._waiting[name]:
                del self._waiting[name]

    def stop_waiting(self) -> None:
        """Wake every waiting request, because the server stops."""
        self.stopping = True
        self._wake(list(self._waiting))

    @property
    def waiters(self) -> int:
        """The number of requests that wait for a commit now."""
        return sum(len(waiting) for waiting in self._waiting.values())

    async def _listen(self) -> None:
        lost = False
        while True:
            try:
                connection = await self._database.listener()
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    lost = False
                    self._wake(list(self._waiting))
                    async for notice in connection.notifies():
                        self._wake(tokens_of(notice.payload))
            except (RetryableError, psycopg.Error) as error:
                if not lost:  # log once per outage
                    log.warning("commit listener disconnected: %s", str(error).partition("\n")[0])
                lost = True
                await asyncio.sleep(RECONNECT_S)

    def _wake(self, tokens: list[str]) -> None:
        for name in tokens:
            for woken in self._waiting.get(name, ()):
                woken.set()
