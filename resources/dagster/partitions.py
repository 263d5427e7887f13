"""The days of the catalogue: an ad's day is the UTC day of its first event, for ever.

One partitions definition for every asset, check and job, so that a day means the same everywhere.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from resources.dagster.names import FIRST_DAY

RECENT_DAYS = 7

DAYS_A_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=31)
"""Of a backfill. One policy for all, since a job's assets must share it. A run costs about 6 s to
start; a month a run is a few of them a year of days, and a run that fails loses a month at most
(nothing of it, in truth: only what is stale is touched again)."""

days = dg.DailyPartitionsDefinition(
    start_date=FIRST_DAY.isoformat(),
    timezone="UTC",
    end_offset=1,  # today exists while it lasts
)


def today() -> date:
    """The UTC day."""
    return datetime.now(UTC).date()


def key_of(day: date) -> str:
    """The partition's key."""
    return day.isoformat()


def days_of(context: dg.AssetExecutionContext) -> list[date]:
    """The days that a run covers: one, or a range in a backfill."""
    return [date.fromisoformat(key) for key in context.partition_keys]


def days_of_run(tags: Mapping[str, str]) -> list[date]:
    """The days that a run was launched for, by its tags; the last RECENT_DAYS where it names none.

    For checks: a check with partitions of its own is a preview in Dagster 1.13, not for use.
    """
    if (single := tags.get("dagster/partition")) is not None:
        return [date.fromisoformat(single)]
    first = tags.get("dagster/asset_partition_range_start")
    last = tags.get("dagster/asset_partition_range_end")
    if first is None or last is None:
        return [today() - timedelta(days=back) for back in range(RECENT_DAYS)]
    return [
        date.fromisoformat(key)
        for key in days.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
    ]
