"""The day partitions of the catalogue: an ad's day is permanently the UTC day of its first event.

All assets, checks and jobs of a code location share one partitions definition. It begins with the
catalogue's first day, read when the location is loaded (`docs/decisions/0007`). The decorators have
`days`, which begins with the earliest day, since importing a module reads no database.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

import dagster as dg

from resources.catalogue.first_day import EARLIEST_DAY

DAYS_A_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=31)
"""The backfill policy of all assets: the assets of a job must share one. A run takes about 6 s to
start. With a month per run, a year of days needs twelve runs; after a failure at most a month is
repeated, and of that only the stale rows."""

RECENT_DAYS = 7


def days_from(first: date) -> dg.DailyPartitionsDefinition:
    """The day partitions from a day on, up to and including the current one."""
    return dg.DailyPartitionsDefinition(start_date=first.isoformat(), timezone="UTC", end_offset=1)


days = days_from(EARLIEST_DAY)


def partitioned_by(
    assets: Sequence[dg.AssetsDefinition], shared: dg.DailyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """The same assets, those with `days` partitioned by `shared`."""

    def replaced(spec: dg.AssetSpec) -> dg.AssetSpec:
        return (
            spec.replace_attributes(partitions_def=shared) if spec.partitions_def == days else spec
        )

    return [asset.map_asset_specs(replaced) for asset in assets]


def today() -> date:
    """The current UTC day."""
    return datetime.now(UTC).date()


def key_of(day: date) -> str:
    """A day's partition key."""
    return day.isoformat()


def days_of(context: dg.AssetExecutionContext) -> list[date]:
    """The days of a run: one, or a range in a backfill."""
    return [date.fromisoformat(key) for key in context.partition_keys]


def days_of_run(tags: Mapping[str, str], shared: dg.DailyPartitionsDefinition) -> list[date]:
    """The days in the tags of a check's run; the last RECENT_DAYS if it has none."""
    first = last = tags.get("dagster/partition")
    if first is None:
        first = tags.get("dagster/asset_partition_range_start")
        last = tags.get("dagster/asset_partition_range_end")
    if first is None or last is None:
        keys: Sequence[str] = shared.get_partition_keys()[-RECENT_DAYS:]
    else:
        keys = shared.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
    return [date.fromisoformat(key) for key in keys]
