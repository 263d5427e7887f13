"""The day partitions of the catalogue: an ad's day is permanently the UTC day of its first event.

All assets, checks and jobs share one partitions definition, so that a day is the same everywhere.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from resources.dagster.names import FIRST_DAY

RECENT_DAYS = 7

DAYS_A_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=31)
"""The backfill policy of all assets: the assets of a job must share one. A run takes about 6 s to
start. With a month per run, a year of days needs twelve runs; after a failure at most a month is
repeated, and of that only the stale rows."""

days = dg.DailyPartitionsDefinition(
    start_date=FIRST_DAY.isoformat(),
    timezone="UTC",
    end_offset=1,  # includes the current day
)


def today() -> date:
    """The current UTC day."""
    return datetime.now(UTC).date()


def key_of(day: date) -> str:
    """A day's partition key."""
    return day.isoformat()


def days_of(context: dg.AssetExecutionContext) -> list[date]:
    """The days of a run: one, or a range in a backfill."""
    return [date.fromisoformat(key) for key in context.partition_keys]


def days_of_run(tags: Mapping[str, str]) -> list[date]:
    """The days in a run's tags; the last RECENT_DAYS if it has none.

    For checks, because checks with their own partitions are only a preview in Dagster 1.13.
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
