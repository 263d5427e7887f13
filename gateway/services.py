"""The services of one gateway process: opened at startup, closed at shutdown, shared by all routes.

Owns the order in which services open. Routes get them as a dependency and open nothing themselves.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gateway.backends.commits import CommitWatch
from gateway.backends.database import GatewayDatabase
from gateway.backends.lag import LogWatch
from gateway.backends.notice_board import NoticeBoard
from gateway.backends.outbox import OutboxRelay
from gateway.backends.probe import DatabaseProbe
from gateway.backends.store import StoreWatch
from gateway.edge.auth import KeyRing
from gateway.edge.limits import Limits
from resources.settings import Settings
from resources.storage.photos import PhotoStore


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one gateway process."""

    settings: Settings
    database: GatewayDatabase
    probe: DatabaseProbe
    store: PhotoStore
    store_watch: StoreWatch
    keys: KeyRing
    limits: Limits
    outbox: OutboxRelay
    commits: CommitWatch
    log: LogWatch
    notices: NoticeBoard


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open the services. An unreachable server is no error here: `/readyz` reports it.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    database = GatewayDatabase(
        settings.require("database_url"),
        size=settings.gateway_connections,
        direct_url=settings.database_direct_url,
    )
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(database)
        keys = await opened.enter_async_context(KeyRing(database, settings))
        outbox = await opened.enter_async_context(OutboxRelay(settings, database))
        commits = await opened.enter_async_context(CommitWatch(database))
        log = LogWatch(settings)
        opened.push_async_callback(asyncio.to_thread, log.close)
        notices = await opened.enter_async_context(NoticeBoard(settings, database, log))
        store = PhotoStore(settings.resolved_store_url)
        yield Services(
            settings=settings,
            database=database,
            probe=DatabaseProbe(database),
            store=store,
            store_watch=StoreWatch(store),
            keys=keys,
            limits=Limits(settings),
            outbox=outbox,
            commits=commits,
            log=log,
            notices=notices,
        )


async def services(request: Request) -> Services:
    """The services, as a dependency. A coroutine: FastAPI calls a plain function in a thread."""
    opened = request.app.state.services
    assert isinstance(opened, Services)
    return opened


ServicesDep = Annotated[Services, Depends(services)]
