"""The asset `release_scores`: which days are scored under which release, as Dagster shows it.

A filled cell: every ad of that day is scored under that release. Its days are those that a release
in force had to be brought to; an ad that was committed later has its predictions by construction.

Decides what is shown, and brings Dagster to what PostgreSQL says: whoever calls `show_scores` at
whatever moment, the outcome is the same. Dagster 1.13 can't empty a cell (wiping partitions is not
in its open storage): a day that is owed again, since a photo of it was mended, is named by the
check `no_day_is_behind`, and its assets are stale in Dagster's own eyes.
"""

from collections.abc import Sequence
from contextlib import closing
from datetime import date

import dagster as dg

from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import table_metadata
from resources.dagster.names import OWNERS, RELEASE_SCORES
from resources.dagster.release_scores import (
    BEHIND_CHECK,
    check_result,
    scored_days,
    scored_releases,
    show_scores,
)
from resources.dagster.resources import DatabaseResource
from resources.postgres import tables
from resources.postgres.database import Database
from resources.releases.coverage import DayState, read_scores, settle
from resources.releases.registry import RegisteredRelease

release_scores = dg.AssetSpec(
    key=RELEASE_SCORES,
    partitions_def=dg.MultiPartitionsDefinition({"day": scored_days, "release": scored_releases}),
    group_name="models",
    kinds={"postgres"},
    owners=OWNERS,
    metadata=table_metadata(tables.release_days),
    description=(
        "A filled cell: every ad of that day is scored under that release. An empty one is a day "
        "that a re-score still has to bring. Releases that score no more are left out."
    ),
)


@dg.asset_check(
    asset=RELEASE_SCORES,
    name=BEHIND_CHECK,
    description="Every ad of every day is scored under the live release; else its days are named.",
)
def no_day_is_behind(database: DatabaseResource) -> dg.AssetCheckResult:
    """Ask PostgreSQL now."""
    with plain_failures(), closing(database.open()) as held:
        return check_result(read_scores(held))


def settle_days(
    instance: dg.DagsterInstance,
    database: Database,
    release: RegisteredRelease,
    covered: Sequence[date],
) -> dict[str, dg.MetadataValue]:
    """Close the days that a run has completed, show it, and say how each stands, as metadata."""
    states = settle(database, release, covered)
    scores = read_scores(database)
    show_scores(instance, scores)
    mine = [coverage for coverage in scores if coverage.release == release.name]
    metadata: dict[str, dg.MetadataValue] = {"days": dg.MetadataValue.md(_table(states))}
    for coverage in mine:
        metadata["days_complete"] = dg.MetadataValue.int(len(coverage.complete))
        metadata["days_unscored"] = dg.MetadataValue.int(len(coverage.unscored))
    return metadata


def _table(states: Sequence[DayState]) -> str:
    lines = [
        "| day | ads with photos | not scored | photos not embedded | |",
        "|---|--:|--:|--:|---|",
    ]
    lines += [
        f"| {s.day} | {s.ads} | {s.unscored} | {s.unembedded} "
        f"| {'complete' if s.complete else 'unscored'} |"
        for s in states
    ]
    return "\n".join(lines)
