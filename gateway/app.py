"""The HTTP application: its routers, middleware and error handlers.

Owns the order of the middleware and the application's title, version and documentation URLs. The
routes themselves are in the modules that are included here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import Depends, FastAPI

from gateway import openapi, problems
from gateway.duplicates import routes as duplicates
from gateway.edge import browsers, limits, tracing
from gateway.edge.exposure import check_exposure
from gateway.edge.paths import PathMiddleware
from gateway.edge.protocol import STOP_WAITING
from gateway.edge.queries import only_known_parameters
from gateway.edge.request_context import RequestContextMiddleware
from gateway.intake import feedback, legacy, uploads
from gateway.intake import routes as intake
from gateway.masks import routes as masks
from gateway.masks.cutouts import CutOuts
from gateway.monitoring import health, metrics
from gateway.page import routes as page
from gateway.reads import photos, releases, reports, tasks
from gateway.reads import routes as reads
from gateway.search import routes as search
from gateway.services import open_services
from gateway.statistics import history
from gateway.statistics import routes as statistics
from gateway.statistics.cache import StatisticsCache
from resources.settings import Settings

DESCRIPTION = """
Photo understanding for classifieds marketplaces. Post an ad with its photos. Within a second you
can read its category, and the live release's other predictions, with the Dagster run and the model
release that produced each value.

Every error is a problem document (RFC 9457) that says what was received and what is allowed.
"""


def make_app(settings: Settings) -> FastAPI:
    """Create the application; its services are opened at startup.

    Raises:
        ConfigurationError: API keys are off, and the gateway does not listen on loopback alone.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
        async with (
            open_services(settings) as services,
            StatisticsCache(
                settings, services.database, services.store_watch, services.log
            ) as cache,
        ):
            app.state.services = services
            app.state.statistics = cache
            app.state.cut_outs = CutOuts()
            # The server calls it when it stops (`edge/protocol.py`).
            yield {STOP_WAITING: services.commits.stop_waiting}
        await asyncio.to_thread(end_tracing)

    check_exposure(settings)
    app = FastAPI(
        title="Lalafo Vision",
        version=version("lalafo-vision"),
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,  # `reads/tasks.py` has the route: the tasks' answers are in PostgreSQL
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a wrong path gets 404, not a redirect
    )
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign] # as FastAPI documents it
    problems.install(app)
    # The middleware that is added last is the outermost: it handles a request first.
    app.add_middleware(PathMiddleware)
    limits.install(app, settings)
    browsers.install(app, settings)
    metrics.install(app)
    end_tracing = tracing.install(app, settings)
    app.add_middleware(RequestContextMiddleware)
    # Before the ads, whose path has an id with any number of segments.
    reading = (search, reads, releases, tasks, photos, reports, statistics, history)
    for module in (intake, uploads, duplicates, feedback, masks, *reading):
        app.include_router(module.router, dependencies=[Depends(only_known_parameters)])
    for module in (legacy, health, metrics, page):
        app.include_router(module.router)
    return app
