"""The job `find_duplicates`: one run is one finder, which the sensor `committed_ads` keeps alive.

Owns what the run reports. The work is that of `resources/duplicates/finder.py`; how the run joins
the group of finders, and how it ends, is in `workers.py`.
"""

import time
from collections.abc import Callable
from contextlib import closing

import dagster as dg
import structlog

from lalafo_assets.assets.ad_duplicates import duplicate_metadata, two_sellers
from lalafo_assets.jobs.workers import run_worker
from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import report_counts
from resources.changes.metrics import WorkerMetrics
from resources.changes.worker import Group
from resources.dagster.executors import Execution, follower_executor
from resources.dagster.names import AD_DUPLICATES, DUPLICATES_JOB
from resources.dagster.resources import DatabaseResource
from resources.duplicates.changes import LEASE
from resources.duplicates.figures import queue
from resources.duplicates.finder import Counts, Finder
from resources.kafka.connection import scored_topic
from resources.postgres.database import Database
from resources.settings import load_settings
from resources.storage.photos import PhotoStore

REPORT_EVERY_S = 600.0
SETTLED_S, APART_S = 15.0, 60.0
"""Once no ad came for so long, what came is reported, unless the last report is newer than the
second number."""

log = structlog.get_logger()


@dg.op(
    description="Looks for duplicates of the ads that sessions commit, groups the ads that are the "
    "same, and reports photos that two sellers have. After LALAFO_SESSION_MINUTES it hands over to "
    "a successor.",
    tags={"dagster/compute_kind": "postgres"},
)
def compare_new_ads(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Work until a successor is ready, or a signal comes."""
    settings = load_settings()
    counts = Counts()
    store = PhotoStore(settings.resolved_store_url)
    if not settings.similar_ads:
        context.log.warning(
            "LALAFO_SIMILAR_ADS is false: crops, borders and collages by other sellers are not "
            "found, since nobody keeps the vectors that find them; hashes find the rest"
        )

    def start(group: Group) -> tuple[Finder, Callable[[], None]]:
        topic = scored_topic(settings.ads_topic)
        finder = Finder(
            *(opened, group, store),
            topic=topic,
            run_id=context.run_id,
            counts=counts,
            on_done=metrics.done,
        )
        return finder, Reports(context, opened, store, counts).report_if_due

    with (
        plain_failures(),
        closing(database.open()) as opened,
        WorkerMetrics(
            settings, worker="duplicates", counts=counts, waiting=lambda: queue(opened)
        ) as metrics,
    ):
        run_worker(context, opened, settings, LEASE, start)
    report_counts(
        context,
        ads=counts.ads,
        pairs_compared=counts.pairs,
        photo_pairs_looked_at=counts.looked_at,
        photo_pairs_compared=counts.compared,
        photo_pairs_found=counts.photo_pairs,
        events=counts.events,
        unreadable_photos=counts.unreadable,
    )


class Reports:
    """What the run reports about the asset while it works."""

    def __init__(
        self, context: dg.OpExecutionContext, database: Database, store: PhotoStore, counts: Counts
    ) -> None:
        self._context, self._database = context, database
        self._store, self._counts = store, counts
        self._reported, self._seen = 0, 0  # ads
        self._reported_at = self._seen_at = time.monotonic()

    def report_if_due(self) -> None:
        """Report while ads come, and once none comes any more.

        An error is logged: the work goes on, and the next report is due in REPORT_EVERY_S.
        """
        now = time.monotonic()
        if self._counts.ads != self._seen:
            self._seen, self._seen_at = self._counts.ads, now
        age_s = now - self._reported_at
        settled = now - self._seen_at >= SETTLED_S and (age_s >= APART_S or not self._reported)
        if self._seen != self._reported and (settled or age_s >= REPORT_EVERY_S):
            self._reported, self._reported_at = self._seen, now
            try:
                self.report()
            except Exception as error:  # noqa: BLE001 - whatever Dagster's storage raises
                log.warning("duplicates.dagster_report_failed", error=str(error)[:200])

    def report(self) -> None:
        """Materialize the asset, and evaluate its check."""
        metadata = duplicate_metadata(self._database, self._store, self._context.run_id)
        self._context.log_event(dg.AssetMaterialization(AD_DUPLICATES, metadata=metadata))
        evaluation = two_sellers(self._database)
        self._context.log_event(evaluation)  # type: ignore[arg-type] # Dagster takes it


def duplicates_job(execution: Execution) -> dg.JobDefinition:
    """Return the job that the sensor `committed_ads` starts."""

    @dg.job(
        name=DUPLICATES_JOB,
        executor_def=follower_executor(),
        tags=execution.tags("finder"),
        description=(
            "Finds ads that are the same: one run is one finder. It follows the commits of "
            "sessions, and stays alive for about an hour. The sensor `committed_ads` starts the "
            "runs, and replaces those that end or run an older code version."
        ),
    )
    def find_duplicates() -> None:
        compare_new_ads()

    return find_duplicates
