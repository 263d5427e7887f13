"""What a running gateway holds: opened at start, closed at the end, handed to every route.

Decides the order in which parts open. Routes take what they need from here and open nothing.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gateway.backends.commits import CommitWatch
from gateway.backends.database import GatewayDatabase
from gateway.backends.outbox import OutboxRelay
from gateway.edge.auth import KeyRing
from gateway.edge.limits import Limits
from resources.settings import Settings
from resources.storage.photos import PhotoStore


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one gateway process."""

    settings: Settings
    database: GatewayDatabase
    store: PhotoStore
    keys: KeyRing
    limits: Limits
    outbox: OutboxRelay
    commits: CommitWatch


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open the parts; servers that are away are told by `/readyz`, not here.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    database = GatewayDatabase(settings.require("database_url"), size=settings.gateway_connections)
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(database)
        keys = await opened.enter_async_context(KeyRing(database, settings))
        outbox = await opened.enter_async_context(OutboxRelay(settings, database))
        commits = await opened.enter_async_context(CommitWatch(database))
        yield Services(
            settings=settings,
            database=database,
            store=PhotoStore(settings.resolved_store_url),
            keys=keys,
            limits=Limits(settings),
            outbox=outbox,
            commits=commits,
        )


async def services(request: Request) -> Services:
    """The parts, for a route. A coroutine, since FastAPI calls anything else in a thread."""
    held = request.app.state.services
    assert isinstance(held, Services)
    return held


TheServices = Annotated[Services, Depends(services)]
