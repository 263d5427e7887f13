"""The asset `release_scores`: which days are scored under which release, as Dagster shows it.

A materialized partition means that every ad of that day is scored under that release. Its days are
those that already had ads when a release became active; an ad that is committed later is scored
under every active release in the same commit.

PostgreSQL is the source; `report_coverage` copies its state to Dagster. It is idempotent and may be
called at any time by any process. Dagster 1.13 can't remove a partition's materialization (its open
storage does not support wiping partitions). So when a day becomes unscored again, because a photo
of it was repaired, the check `no_day_is_behind` names that day, and Dagster marks its assets as
stale.
"""

from collections.abc import Sequence
from contextlib import closing
from datetime import date

import dagster as dg

from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import table_metadata
from ops.tasks import all_tasks
from resources.dagster.names import OWNERS, RELEASE_SCORES
from resources.dagster.release_scores import (
    BEHIND_CHECK,
    check_result,
    report_coverage,
    scored_days,
    scored_releases,
)
from resources.dagster.resources import DatabaseResource
from resources.postgres import tables
from resources.postgres.database import Database
from resources.releases.coverage import DayState, close_complete_days, read_release_coverage
from resources.releases.installed_tasks import tasks_off
from resources.releases.registry import RegisteredRelease
from resources.settings import load_settings

release_scores = dg.AssetSpec(
    key=RELEASE_SCORES,
    partitions_def=dg.MultiPartitionsDefinition({"day": scored_days, "release": scored_releases}),
    group_name="models",
    kinds={"postgres"},
    owners=OWNERS,
    metadata=table_metadata(tables.release_days),
    description=(
        "One row for each day and active release, in the table `lalafo.release_days`: a "
        "materialized partition means that every ad of that day is scored under that release, and "
        "a missing one that a re-score still has to score it. The sensor `releases` updates it "
        "within seconds; a promotion reads it, and refuses a release with unscored days."
    ),
)


@dg.asset_check(
    asset=RELEASE_SCORES,
    name=BEHIND_CHECK,
    description="Every ad of every day is scored under the live release. A failure names the days.",
)
def no_day_is_behind(database: DatabaseResource) -> dg.AssetCheckResult:
    """Query PostgreSQL for unscored days."""
    with plain_failures(), closing(database.open()) as db:
        return check_result(read_release_coverage(db))


def settle_days(
    instance: dg.DagsterInstance,
    database: Database,
    release: RegisteredRelease,
    covered: Sequence[date],
) -> dict[str, dg.MetadataValue]:
    """Close the days that are complete, update `release_scores`, and return the days as metadata.

    Returns:
        The metadata entries `days` (a table), `days_complete` and `days_unscored`.
    """
    off = tasks_off(load_settings(), all_tasks())
    states = close_complete_days(database, release, covered, off)
    scores = read_release_coverage(database)
    report_coverage(instance, scores)
    coverages = [coverage for coverage in scores if coverage.release == release.name]
    metadata: dict[str, dg.MetadataValue] = {"days": dg.MetadataValue.md(_table(states))}
    for coverage in coverages:
        metadata["days_complete"] = dg.MetadataValue.int(len(coverage.complete))
        metadata["days_unscored"] = dg.MetadataValue.int(len(coverage.unscored))
    return metadata


def _table(states: Sequence[DayState]) -> str:
    lines = [
        "| day | ads with photos | not scored | photos not embedded | state |",
        "|---|--:|--:|--:|---|",
    ]
    lines += [
        f"| {s.day} | {s.ads} | {s.unscored} | {s.unembedded} "
        f"| {'complete' if s.complete else 'unscored'} |"
        for s in states
    ]
    return "\n".join(lines)
