"""How a session's run ends when its process gets SIGTERM."""

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from lalafo_assets.session.op import _ends_by_signal


@dg.op
def interrupted(context: dg.OpExecutionContext) -> None:
    """What SIGTERM raises in an op's thread."""
    with _ends_by_signal(context):
        raise DagsterExecutionInterruptedError


@dg.op
def cancelled(context: dg.OpExecutionContext) -> None:
    """The same, after someone has terminated the run in Dagster."""
    run = context.instance.get_run_by_id(context.run_id)
    assert run is not None
    context.instance.report_run_canceling(run)
    with _ends_by_signal(context):
        raise DagsterExecutionInterruptedError


@dg.job
def interrupted_job() -> None:
    interrupted()


@dg.job
def cancelled_job() -> None:
    cancelled()


def test_a_signal_ends_the_run_as_a_success() -> None:
    """It has handed over; a failure would be reported to people, and delay the next session."""
    with dg.DagsterInstance.ephemeral() as instance:
        assert interrupted_job.execute_in_process(instance=instance).success


def test_a_terminated_run_is_canceled() -> None:
    """Dagster's UI asked for it, and shows it."""
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(DagsterExecutionInterruptedError):
            cancelled_job.execute_in_process(instance=instance)
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.CANCELED
