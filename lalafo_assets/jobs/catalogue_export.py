"""The schedule `catalogue_export`: writes the files of the last days each night."""

from datetime import timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from resources.dagster.executors import Execution, background_executor
from resources.dagster.names import CATALOGUE_EXPORT
from resources.dagster.partitions import RECENT_DAYS, key_of, today
from resources.settings import load_settings

EXPORT_JOB = "export_days"


def export_job(execution: Execution) -> UnresolvedAssetJobDefinition:
    """Return the job that writes the files of days."""
    return dg.define_asset_job(
        EXPORT_JOB,
        selection=dg.AssetSelection.assets(CATALOGUE_EXPORT),
        executor_def=background_executor(),
        tags=execution.tags("maintenance"),
        description="Writes ads of whole days with their predictions to LALAFO_EXPORT_URL.",
    )


def export_schedule(
    job: UnresolvedAssetJobDefinition, shared: dg.DailyPartitionsDefinition
) -> dg.ScheduleDefinition:
    """Return the schedule; LALAFO_EXPORT_CRON sets its times, in UTC.

    It runs where LALAFO_EXPORT_URL is set; elsewhere it is stopped, and a tick says why.

    Args:
        shared: the day partitions: days before the catalogue's first are not requested.
    """
    settings = load_settings()
    status = dg.DefaultScheduleStatus
    is_set = settings.export_url != ""

    @dg.schedule(
        name="catalogue_export",
        job=job,
        cron_schedule=settings.export_cron,
        execution_timezone="UTC",
        default_status=status.RUNNING if is_set else status.STOPPED,
        description=(
            f"Writes the files of the last {RECENT_DAYS} complete days, whose ads still change, at "
            "LALAFO_EXPORT_CRON. Stopped while LALAFO_EXPORT_URL is empty."
        ),
    )
    def catalogue_export() -> list[dg.RunRequest] | dg.SkipReason:
        if not is_set:
            return dg.SkipReason("LALAFO_EXPORT_URL is empty: there is no place to export to")
        recent = [key_of(today() - timedelta(days=ago)) for ago in range(1, RECENT_DAYS + 1)]
        return [
            dg.RunRequest(partition_key=key)
            for key in reversed(recent)
            if shared.has_partition_key(key)
        ]

    return catalogue_export
