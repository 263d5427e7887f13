"""The sessions of a stack that starts, requested before Dagster's daemon runs.

The daemon would import Dagster first, evaluate the sensor, and take the run from its queue a second
later. Here the stack evaluates the sensors once by the daemon's own code, and launches the sessions
that they request: the run keys, ticks and tags are the sensor's, and the daemon, which starts
afterwards, finds these runs. So a session is never requested twice.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from lalafo_assets.stack.code_server import HOST

LOCATION = "lalafo_assets"


def start_first_sessions(dagster_home: Path, port: int) -> int:
    """Start the sessions that the sensor `new_ads` requests now; call it before the daemon starts.

    Args:
        port: the code server's.

    Returns:
        How many sessions were started.
    """
    import dagster as dg
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import GrpcServerTarget
    from dagster._daemon.sensor import execute_sensor_iteration

    from resources.dagster.names import SESSION_JOB

    server = GrpcServerTarget(host=HOST, port=port, socket=None, location_name=LOCATION)
    queued = dg.RunsFilter(job_name=SESSION_JOB, statuses=[dg.DagsterRunStatus.QUEUED])
    runs: Sequence[dg.DagsterRun] = ()
    with (
        dg.DagsterInstance.from_config(str(dagster_home)) as instance,
        WorkspaceProcessContext(instance, server) as workspace,
    ):
        for _ in execute_sensor_iteration(workspace, logging.getLogger(__name__), None, None):
            runs = instance.get_runs(queued)
            if runs:
                break  # the other sensors have time
        for run in runs:
            instance.launch_run(run.run_id, workspace.create_request_context())
    return len(runs)
