"""The sensor `committed_ads`: keeps a finder of duplicates alive, as `scored_ads` does an indexer.

It is not on the path of an ad: a running finder does not need it.
"""

from contextlib import closing

import dagster as dg

from ops.errors import LalafoError
from resources.dagster.names import DUPLICATES_JOB
from resources.dagster.resources import DatabaseResource
from resources.duplicates.changes import LEASE, stop
from resources.settings import load_settings
from sensors.new_ads import INTERVAL_S
from sensors.scored_ads import keep_worker

OFF = "LALAFO_DUPLICATES is false"


def committed_ads(job: dg.JobDefinition) -> dg.SensorDefinition:
    """Create the sensor for the job `find_duplicates`."""

    @dg.sensor(
        job=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "With LALAFO_DUPLICATES, keeps one finder: it requests a run if there is none, or if "
            "it will soon hand over or runs older code. Fails runs whose finder is dead. Without, "
            "it sees to it that commits queue nothing."
        ),
    )
    def committed_ads(
        context: dg.SensorEvaluationContext, database: DatabaseResource
    ) -> dg.SensorResult | dg.SkipReason:
        if load_settings().duplicates:
            return keep_worker(context, database, LEASE, DUPLICATES_JOB)
        try:
            with closing(database.open()) as opened:
                if stop(opened):
                    context.log.info(f"{OFF}: commits queue no more ads")
        except LalafoError as error:
            return dg.SkipReason(f"{OFF}; {error}")
        return dg.SkipReason(OFF)

    return committed_ads
