"""A session's run that is terminated in Dagster ends, although no signal reaches it."""

import threading
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from lalafo_assets.definitions import defs
from lalafo_assets.session import run_status
from resources.dagster.names import ROLE_TAG, SESSION_JOB
from resources.sessions.group.leases import read_leases
from tests.support.live_session import Live, ad
from tests.support.settings_environment import export
from tests.support.working_sessions import until

Status = dg.DagsterRunStatus


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (dg.DagsterInstance.report_run_canceling, Status.CANCELED),
        (dg.DagsterInstance.report_run_canceled, Status.CANCELED),
        (dg.DagsterInstance.report_run_failed, Status.FAILURE),
    ],
    ids=["terminated", "marked as canceled", "marked as failed"],
)
def test_a_run_that_dagster_has_ended_ends(
    live: Live,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    report: Callable[[dg.DagsterInstance, dg.DagsterRun], object],
    expected: dg.DagsterRunStatus,
) -> None:
    """Its leases are released, and its status is what Dagster shows for it, not a success."""
    export(live.settings, monkeypatch)
    monkeypatch.setattr(run_status, "LOOK_EVERY_S", 0.05)
    live.publish(ad("1", []))
    job = defs().get_repository_def().get_job(SESSION_JOB)
    raised: list[BaseException] = []
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:

        def work() -> None:
            try:
                job.execute_in_process(instance=instance)
            except BaseException as error:  # noqa: BLE001 - the test's thread checks it
                raised.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        until(lambda: live.rows("SELECT count(*) FROM lalafo.ads") == [(1,)])
        until(lambda: instance.get_runs()[0].tags.get(ROLE_TAG, "").startswith("live"))
        (run,) = instance.get_runs()
        report(instance, run)
        thread.join(60)
        assert not thread.is_alive()
        assert [type(error) for error in raised] == [DagsterExecutionInterruptedError]
        (run,) = instance.get_runs()
        assert run.status is expected
        assert run.tags[ROLE_TAG] == "ended"
    leases = read_leases(live.database, live.stream.stream_id(), live.settings.ads_topic)
    assert leases and not any(lease.alive for lease in leases.values())


def test_a_session_outlives_an_outage_of_dagsters_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can't be terminated meanwhile; it is once the storage is back."""
    monkeypatch.setattr(run_status, "LOOK_EVERY_S", 0.01)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = instance.create_run_for_job(defs().get_repository_def().get_job(SESSION_JOB))
        get, looks, down = instance.get_run_by_id, [0], [True]

        def look(run_id: str) -> dg.DagsterRun | None:
            looks[0] += 1
            if down[0]:
                raise OSError("the storage is unavailable")
            return get(run_id)

        instance.report_run_canceling(run)
        monkeypatch.setattr(instance, "get_run_by_id", look)
        with run_status.RunStatus(instance, run.run_id) as status:
            until(lambda: looks[0] > 3)
            assert not status.ended
            down[0] = False
            until(lambda: status.ended)
