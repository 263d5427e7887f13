"""Runs of workers that follow commits: how one joins its group, and how it ends.

The group is that of sessions, under a stream of its own (`resources/sessions/worker_group.py`).
Does not depend on what the worker does.
"""

from collections.abc import Callable

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from lalafo_assets.session.run_status import ENDED
from resources.changes.lease import WorkerLease
from resources.changes.worker import ChangeWorker, Group
from resources.dagster.names import CODE_TAG
from resources.postgres.database import Database
from resources.processes.child import stack_runs
from resources.sessions.code_version import code_version
from resources.sessions.worker_group import worker_membership
from resources.settings import Settings


def run_worker(
    context: dg.OpExecutionContext,
    database: Database,
    settings: Settings,
    lease: WorkerLease,
    start: Callable[[Group], tuple[ChangeWorker, Callable[[], None]]],
) -> None:
    """Work until a successor is ready, the stack ends, or a signal comes.

    Args:
        start: returns the worker, and what to call between two steps.

    Raises:
        DagsterExecutionInterruptedError: the run was terminated.
    """
    version = context.run.tags.get(CODE_TAG, code_version(settings))
    joined = worker_membership(
        database, settings, lease, run_id=context.run_id, code_version=version
    )
    with joined as group:
        group.ready()
        worker, report = start(group)

        def stopped() -> bool:
            report()
            return not stack_runs(settings.stack_pid)

        try:
            worker.run(stopped)
        except DagsterExecutionInterruptedError:
            run = context.instance.get_run_by_id(context.run_id)
            if run is not None and run.status in ENDED:
                raise
            context.log.info("ended by a signal: the next worker continues")
