"""The session as Dagster ops: load the releases, score ads as they arrive, check the days.

Owns the order of a session's steps, and how a signal ends them. What they report to Dagster is in
`session_run.py`; the loop is in `ops/session/pipeline.py`; `resources/sessions/live.py` assembles
its parts.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.session.resource import SessionResource
from lalafo_assets.session.run_status import ENDED
from resources.dagster.names import CODE_TAG, POOL_STREAM
from resources.dagster.resources import (
    AdStreamResource,
    DatabaseResource,
    ModelsResource,
    PhotosResource,
)
from resources.sessions.live import SessionParts
from resources.settings import Settings, load_settings
from resources.tracing.session import session_tracing
from sensors.failures import one_line, record_failure

_KIND = {"dagster/compute_kind": "kafka"}


@dg.op(
    pool=POOL_STREAM,
    out=dg.Out(dg.Nothing),
    description=(
        "Joins the group of sessions, and loads and warms up the active releases: seconds, or a "
        "minute where the model is compiled. The output's metadata says where the session runs and "
        "links to its page and metrics."
    ),
    tags={"dagster/compute_kind": "pytorch"},
)
def load_releases(
    context: dg.OpExecutionContext,
    database: DatabaseResource,
    ad_stream: AdStreamResource,
    photos: PhotosResource,
    models: ModelsResource,
    session: SessionResource,
) -> None:
    """Open the session; it takes no partitions yet."""
    with _ends_by_signal(context), plain_failures(), _error_recorded(context):
        settings, stack = _settings(context, models), session.stack
        parts = SessionParts(
            settings=settings,
            database=stack.enter_context(closing(database.open())),
            stream=stack.enter_context(ad_stream.open()),
            store=photos.store(),
            releases=models.store(),
            fetcher=photos.fetcher,
            embedder=models.embedder(),
            tracing=stack.enter_context(session_tracing(settings)),
            end_process=os._exit,
            yields=settings.background_priority == "idle",
        )
        context.add_output_metadata(session.open(context, parts).load())


@dg.op(
    pool=POOL_STREAM,
    ins={"loaded": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    description=(
        "Consumes its share of the Kafka partitions, or stands by; brackets on the step's bar show "
        "when. It scores every event on arrival and reports the assets of each day that it wrote "
        "to. Rows and offsets are committed in one transaction. After LALAFO_SESSION_MINUTES it "
        "hands over to a successor."
    ),
    tags=_KIND,
)
def drain_ads(context: dg.OpExecutionContext, session: SessionResource) -> None:
    """Run the session to its end."""
    with _ends_by_signal(context), plain_failures(), _error_recorded(context):
        run = session.running(context)
        if run is not None:
            run.drain()


@dg.op(
    ins={"drained": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    description=(
        "After the session has handed over: draws its pictures, materializes its days once more "
        "with the counts of the whole session, and evaluates their checks. No ad waits for it."
    ),
    tags={"dagster/compute_kind": "postgres"},
)
def check_days(context: dg.OpExecutionContext, session: SessionResource) -> None:
    """Report the session's days as a whole; after a signal there is no time for it."""
    with _ends_by_signal(context), plain_failures():
        run = session.running(context)
        if run is not None:
            run.check_days()


def _settings(context: dg.OpExecutionContext, models: ModelsResource) -> Settings:
    settings = models.settings()
    code_version = context.run.tags.get(CODE_TAG)
    if code_version is None:
        return settings
    # The sensor started the run for this version. The code server may have loaded its files before
    # they changed, so the version that it sees may be another one.
    return settings.model_copy(update={"code_version": code_version})


@contextmanager
def _ends_by_signal(context: dg.OpExecutionContext) -> Iterator[None]:
    """Let the run succeed if a signal ends it, also while it starts: it has handed over.

    An interrupt that Dagster requested makes the run cancelled, and a run that it has marked as
    failed stays so. A signal from elsewhere (an evicted pod, a stopping stack) is a graceful
    shutdown.
    """
    try:
        yield
    except DagsterExecutionInterruptedError:
        run = context.instance.get_run_by_id(context.run_id)
        if run is not None and run.status in ENDED:
            raise
        context.log.info("ended by a signal: the next session continues from the last commit")


@contextmanager
def _error_recorded(context: dg.OpExecutionContext) -> Iterator[None]:
    """Write the error with which a session ends to its row; the sensor would later."""
    try:
        yield
    except Exception as error:
        text = one_line(f"{type(error).__name__}: {error}")
        record_failure(load_settings(), context.run_id, text)
        raise
