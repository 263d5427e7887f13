"""The days of the catalogue: an ad's day is the UTC day of its first event, for ever.

One partitions definition for every asset, check and job, so that a day means the same everywhere.
"""

from datetime import UTC, date, datetime

import dagster as dg

FIRST_DAY = date(2026, 1, 1)
"""Kafka timestamps before this fall back to the time of receipt. Dagster warns above 100,000
partitions an asset; a day each, that is 273 years."""

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
