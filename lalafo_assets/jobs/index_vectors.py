"""The job `index_vectors`: one run is one indexer, which the sensor `scored_ads` keeps alive.

Owns what the run reports. The work is that of `resources/vector_search/indexer.py`; how the run
joins the group of indexers, and how it ends, is in `workers.py`.
"""

import time
from collections.abc import Callable
from contextlib import closing

import dagster as dg
import structlog

from lalafo_assets.assets.similarity_index import index_metadata
from lalafo_assets.jobs.workers import run_worker
from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import report_counts
from resources.changes.metrics import WorkerMetrics
from resources.changes.worker import Group
from resources.dagster.executors import Execution, follower_executor
from resources.dagster.names import INDEX_JOB, SIMILARITY_INDEX
from resources.dagster.resources import DatabaseResource, ModelsResource, PhotosResource
from resources.inference.cache import LoadedReleases
from resources.photo_searches import PhotoModels, PhotoSearches
from resources.photos.loading import PhotoLimits, PhotoLoader
from resources.postgres.database import Database
from resources.settings import load_settings
from resources.vector_search.ad_vectors import LEASE
from resources.vector_search.figures import queue
from resources.vector_search.indexer import Counts, Indexer

REPORT_EVERY_S = 600.0

log = structlog.get_logger()


@dg.op(
    description="Renews the vectors of the ads that sessions commit, builds missing indexes beside "
    "it, drops those of backbones that no release uses, and embeds the photos that searches name. "
    "After LALAFO_SESSION_MINUTES it hands over to a successor.",
    tags={"dagster/compute_kind": "postgres"},
)
def follow_commits(
    context: dg.OpExecutionContext,
    database: DatabaseResource,
    photos: PhotosResource,
    models: ModelsResource,
) -> None:
    """Work until a successor is ready, or a signal comes."""
    settings = load_settings()
    counts = Counts()

    def start(group: Group) -> tuple[Indexer, Callable[[], None]]:
        indexer = Indexer(
            *(opened, group),
            workers=settings.vector_build_workers,
            counts=counts,
            on_done=metrics.done,
        )
        return indexer, Reports(context, opened, counts).report_if_due

    with (
        plain_failures(),
        closing(database.open()) as opened,
        WorkerMetrics(
            settings, worker="vectors", counts=counts, waiting=lambda: queue(opened)
        ) as metrics,
        PhotoSearches(
            opened, lambda: _photo_models(opened, photos, models), on_answer=metrics.searched
        ),
    ):
        run_worker(context, opened, settings, LEASE, start)
    report_counts(context, changes=counts.changes, built=counts.built, dropped=counts.dropped)


def _photo_models(
    database: Database, photos: PhotosResource, models: ModelsResource
) -> PhotoModels:
    from ops.models.embed import prepare

    loader = PhotoLoader(
        database=database,
        store=photos.store(),
        fetcher=photos.fetcher,
        prepare=prepare,
        limits=PhotoLimits.from_settings(load_settings()),
    )
    return PhotoModels(loader, LoadedReleases(database, models.store(), models.embedder()))


class Reports:
    """What the run reports about the asset while it works."""

    def __init__(self, context: dg.OpExecutionContext, database: Database, counts: Counts) -> None:
        self._context, self._database, self._counts = context, database, counts
        self._reported = (0, 0)
        self._reported_at = time.monotonic()

    def report_if_due(self) -> None:
        """Report an index that was built or dropped at once, and all of them now and then.

        An error is logged: the work goes on, and the next report is due in REPORT_EVERY_S.
        """
        now = time.monotonic()
        changed = (self._counts.built, self._counts.dropped)
        if changed != self._reported or now - self._reported_at >= REPORT_EVERY_S:
            kind = dg.AssetObservation if changed == self._reported else dg.AssetMaterialization
            self._reported, self._reported_at = changed, now
            try:
                metadata = index_metadata(self._database)
                self._context.log_event(kind(SIMILARITY_INDEX, metadata=metadata))
            except Exception as error:  # noqa: BLE001 - whatever Dagster's storage raises
                log.warning("vectors.dagster_report_failed", error=str(error)[:200])


def index_job(execution: Execution) -> dg.JobDefinition:
    """Return the job that the sensor `scored_ads` starts."""

    @dg.job(
        name=INDEX_JOB,
        executor_def=follower_executor(),
        tags=execution.tags("indexer"),
        description=(
            "Keeps the vectors of ads for searches: one run is one indexer. It follows the commits "
            "of sessions, and stays alive for about an hour. The sensor `scored_ads` starts the "
            "runs, and replaces those that end or run an older code version."
        ),
    )
    def index_vectors() -> None:
        follow_commits()

    return index_vectors
