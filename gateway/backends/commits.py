"""Waiting for the commit of an ad: one connection runs LISTEN and wakes the waiting requests.

A lost connection wakes every waiting request, which then reads its ad itself. Through a pooler
notifications do not arrive: then one query every POLL_S looks for all ads that are waited for.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg

from gateway.backends.database import GatewayDatabase
from ops.errors import RetryableError
from ops.types import AdKey
from resources.postgres.commit_notices import CHANNEL, token, tokens_of
from resources.postgres.conninfo import DIRECT_URL_SETTING

RECONNECT_S = 0.5
POLL_S = 0.2

_CHANGED = (
    "SELECT a.catalog, a.ad_id, a.updated_at FROM lalafo.ads AS a "
    "JOIN unnest(%s::text[], %s::text[]) AS k (catalog, ad_id) "
    "ON a.catalog = k.catalog AND a.ad_id = k.ad_id"
)

log = logging.getLogger(__name__)


class CommitWatch:
    """Learns of commits and sets the events of the waiting requests. Use with `async with`."""

    def __init__(self, database: GatewayDatabase) -> None:
        self._database = database
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._keys: dict[str, AdKey] = {}  # of the ads that are waited for, by token
        self._task: asyncio.Task[None] | None = None
        self.stopping = False  # the server stops: nobody may wait any more

    async def __aenter__(self) -> "CommitWatch":
        self._task = asyncio.create_task(self._watch(), name="commits")
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
        self._keys[name] = key
        try:
            yield woken
        finally:
            self._waiting[name].discard(woken)
            if not self._waiting[name]:
                del self._waiting[name], self._keys[name]

    def stop_waiting(self) -> None:
        """Wake every waiting request, because the server stops."""
        self.stopping = True
        self._wake(list(self._waiting))

    @property
    def waiters(self) -> int:
        """The number of requests that wait for a commit now."""
        return sum(len(waiting) for waiting in self._waiting.values())

    async def _watch(self) -> None:
        lost = False
        while True:
            try:
                connection = await self._database.listener()
                if connection is None:
                    log.warning(
                        "the connection to PostgreSQL leads through a pooler: commits are found by "
                        "polling, every %s s. Set %s to be notified of them.",
                        POLL_S,
                        DIRECT_URL_SETTING,
                    )
                    await self._poll()
                    return
                lost = False
                await self._listen(connection)
            except (RetryableError, psycopg.Error) as error:
                if not lost:  # log once per outage
                    log.warning("commit listener disconnected: %s", str(error).partition("\n")[0])
                lost = True
                await asyncio.sleep(RECONNECT_S)

    async def _listen(self, connection: psycopg.AsyncConnection[Any]) -> None:
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._wake(list(self._waiting))
            async for notice in connection.notifies():
                self._wake(tokens_of(notice.payload))

    async def _poll(self) -> None:
        """Wake the requests whose ads have changed since the last look; it does not end."""
        seen: dict[str, datetime] = {}
        while True:
            await asyncio.sleep(POLL_S)
            try:
                found = await self._changed_at(list(self._keys.values()))
            except RetryableError as error:
                log.info("commits could not be looked for: %s", error)
                continue
            self._wake([name for name, at in found.items() if seen.get(name) != at])
            seen = {name: at for name, at in found.items() if name in self._waiting}

    async def _changed_at(self, keys: list[AdKey]) -> dict[str, datetime]:
        if keys == []:
            return {}
        values = [key.catalog for key in keys], [key.ad_id for key in keys]
        async with self._database.connection() as connection:
            rows = await connection.execute(_CHANGED, values, prepare=True)
            return {token(AdKey(row[0], row[1])): row[2] async for row in rows}

    def _wake(self, tokens: list[str]) -> None:
        for name in tokens:
            for woken in self._waiting.get(name, ()):
                woken.set()
