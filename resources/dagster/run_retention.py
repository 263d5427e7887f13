"""Dagster's own storage: finished runs with their event logs, deleted once they are old.

Decides which runs may go. Ticks are not here: `retention` in `dagster.yaml` prunes them.

What `delete_run` does in Dagster 1.13 (storage/event_log/sql_event_log.py, the same on PostgreSQL):
it deletes the run, all its rows of `event_logs`, materialisations and observations included, and
their `asset_event_tags`. `asset_keys` keeps an asset's last materialisation, but whether a
*partition* is materialised, and under which data version, is asked of `event_logs`: a day whose
last materialisation goes would be missing, and what is downstream of it stale. So a run that holds
the last materialisation of any partition stays; its tag says why. Asset checks' results have a
table of their own and survive. Observations older than the setting go: they carry pictures. A
sensor's run keys are remembered by the runs' tags, so a key is free again once its run is gone:
ours name offsets, which do not come back.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

KEPT_TAG = "lalafo/kept"
KEPT_WHY = "holds the last materialisation of a partition"
FINISHED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
_PAGE = 1_000


@dataclass(slots=True)
class RunsPruned:
    """What became of the old runs."""

    deleted: int = 0
    kept: int = 0  # for the last materialisation of a partition


def prune_runs(
    instance: dg.DagsterInstance,
    *,
    keep_days: int,
    frequent: Mapping[str, timedelta] | None = None,
    limit: int = 200,
) -> RunsPruned:
    """Delete finished runs that are older than so many days, the oldest first.

    A run that has not finished is never deleted, however old. One that is kept gets a tag, which
    renews its time: it is looked at again after as many days.

    Args:
        keep_days: since the run last changed.
        frequent: jobs whose successful runs are kept for a shorter time, as they say nothing.
        limit: runs to look at in one call.
    """
    now = datetime.now(UTC)
    pruned = RunsPruned()
    old = dg.RunsFilter(statuses=FINISHED, updated_before=now - timedelta(days=keep_days))
    filters = [old] + [
        dg.RunsFilter(
            job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS], updated_before=now - retained_for
        )
        for job, retained_for in ({} if frequent is None else frequent).items()
    ]
    for wanted in filters:
        left = limit - pruned.deleted - pruned.kept
        records = instance.get_run_records(wanted, limit=left, ascending=True) if left > 0 else []
        for record in records:
            _prune(instance, record.dagster_run.run_id, pruned)
    return pruned


def _prune(instance: dg.DagsterInstance, run_id: str, pruned: RunsPruned) -> None:
    if _holds_the_last(instance, run_id):
        instance.add_run_tags(run_id, {KEPT_TAG: KEPT_WHY})
        pruned.kept += 1
        return
    # Captured output lies beside the database; no run, no way to it.
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    pruned.deleted += 1


def _holds_the_last(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a partition's, or an unpartitioned asset's, last materialisation is this run's."""
    held: dict[dg.AssetKey, dict[str | None, int]] = defaultdict(dict)
    for key, partition, storage_id in _materialisations(instance, run_id):
        held[key][partition] = storage_id
    for key, places in held.items():
        partitions = {partition for partition in places if partition is not None}
        if partitions:
            last = instance.get_latest_storage_id_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION, partitions
            )
            if any(last.get(partition) == places[partition] for partition in partitions):
                return True
        if None in places:
            newest = instance.fetch_materializations(key, limit=1).records
            if newest and newest[0].storage_id == places[None]:
                return True
    return False


def _materialisations(
    instance: dg.DagsterInstance, run_id: str
) -> Iterable[tuple[dg.AssetKey, str | None, int]]:
    """(asset, partition, storage id) in the order in which they were stored."""
    cursor, more = None, True
    while more:
        page = instance.get_records_for_run(
            run_id, cursor, dg.DagsterEventType.ASSET_MATERIALIZATION, limit=_PAGE
        )
        for record in page.records:
            event = record.event_log_entry.dagster_event
            if event is not None and event.asset_key is not None:
                yield event.asset_key, event.partition, record.storage_id
        cursor, more = page.cursor, page.has_more
