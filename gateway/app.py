"""The HTTP application: which routes there are, under which rules.

Decides versions, documentation and what a browser may do with an answer. What routes do is in the
modules that they come from.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from gateway import openapi, problems
from gateway.edge import browsers, limits
from gateway.edge.exposure import check_exposure
from gateway.edge.request_context import Edge
from gateway.intake import feedback, legacy, uploads
from gateway.intake import routes as intake
from gateway.monitoring import health, metrics
from gateway.page import routes as page
from gateway.reads import photos
from gateway.reads import routes as reads
from gateway.services import open_services
from gateway.statistics import routes as statistics
from gateway.statistics.cache import StatisticsCache
from resources.settings import Settings

DESCRIPTION = """
Photo understanding for classifieds marketplaces. Post an ad with its photos; within a second its
category (and whatever else the live release predicts) can be read here, with the Dagster run and
the model release behind every value.

Every error is a problem document (RFC 9457) that says what came and what is allowed.
"""


def make_app(settings: Settings) -> FastAPI:
    """The application; it opens its parts when it is started.

    Raises:
        ConfigurationError: keys are switched off where others than this machine can connect.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            open_services(settings) as services,
            StatisticsCache(settings, services.database) as cache,
        ):
            app.state.services = services
            app.state.statistics = cache
            yield

    check_exposure(settings)
    app = FastAPI(
        title="Lalafo Vision",
        version=version("lalafo-vision"),
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # an address that is wrong is told to be, not sent elsewhere
    )
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign] # FastAPI's own way
    problems.install(app)
    # The last is the outermost: it sees a request first and its answer last.
    limits.install(app, settings)
    browsers.install(app, settings)
    metrics.install(app)
    app.add_middleware(Edge)
    api = (intake, reads, uploads, photos, feedback, statistics, legacy)
    for module in (*api, health, metrics, page):
        app.include_router(module.router)
    return app
