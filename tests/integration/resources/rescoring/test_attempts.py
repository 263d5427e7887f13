"""Re-scores on PostgreSQL and a real Dagster storage: requested once, run once, resumed."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from lalafo_assets.definitions import defs
from ops.models.release import Release
from resources.dagster.backfills import cancel, check_progress, start_rescore
from resources.dagster.names import RELEASE_SCORES, RELEASE_TAG, RESCORE_TAG
from resources.dagster.release_scores import BEHIND_CHECK
from resources.dagster.resources import DatabaseResource
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.coverage import open_days, reopen_day
from resources.releases.promotion import make_live, promote, propose, rollback, withdraw
from resources.releases.registry import RegisteredRelease, write_verdict
from resources.rescoring.attempts import at_work, is_at_work, latest, mark_cancelled, request
from resources.rescoring.steps import Stage
from tests.support.random_release import random_release
from tests.support.stored_days import FIRST, SECOND, THIRD, add_ads, judged, known, rows

REPOSITORY = defs().get_repository_def()
SENSOR = REPOSITORY.get_sensor_def("releases")


def states(database: Database) -> list[str]:
    """The state of every attempt, oldest first."""
    attempts = rows(database, "SELECT state FROM lalafo.rescores ORDER BY requested_at, attempt")
    return [state for (state,) in attempts]


@pytest.fixture(scope="module")
def other() -> Release:
    """Another head on the same backbone."""
    return random_release(seed=1)


@pytest.fixture
def live(
    database: Database, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RegisteredRelease:
    """A live release, ads of three days, and the environment variables that the sensor reads."""
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.url.render_as_string())
    monkeypatch.setenv("LALAFO_STORE_URL", str(tmp_path / "store"))
    registered = known(database, tmp_path, release)
    make_live(database, registered.name)
    add_ads(database, registered, {FIRST: 4, SECOND: 3, THIRD: 2})
    return registered


Restart = Callable[[], dg.DagsterInstance]


@pytest.fixture
def restart(tmp_path: Path) -> Iterator[Restart]:
    """Opens Dagster's storage again at each call, as a restarted daemon does."""
    opened: list[dg.DagsterInstance] = []

    def again() -> dg.DagsterInstance:
        for instance in opened:
            instance.dispose()
        (tmp_path / "dagster").mkdir(exist_ok=True)
        opened[:] = [dg.DagsterInstance.local_temp(str(tmp_path / "dagster"))]
        return opened[0]

    yield again
    for instance in opened:
        instance.dispose()


class Sensor:
    """The sensor, evaluated by explicit ticks."""

    def __init__(self, instance: dg.DagsterInstance, cursor: str | None = None) -> None:
        self.instance, self.cursor = instance, cursor

    def tick(self) -> tuple[list[dg.RunRequest], str]:
        context = dg.build_sensor_context(
            instance=self.instance,
            repository_def=REPOSITORY,
            resources={"database": DatabaseResource()},
            cursor=self.cursor,
        )
        data = SENSOR.evaluate_tick(context)
        self.cursor = data.cursor if data.cursor is not None else self.cursor
        return list(data.run_requests or []), str(data.skip_message)


def backfills(instance: dg.DagsterInstance) -> list[tuple[str, str]]:
    return [(item.backfill_id, item.status.value) for item in instance.get_backfills()]


def close(database: Database, name: str, *days: date) -> None:
    """Close days, as the end of a run does."""
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.release_days SET completed_at = now() "
            "WHERE release = %s AND day = ANY(%s)",
            (name, list(days)),
        )


def end(instance: dg.DagsterInstance, backfill_id: str, status: BulkActionStatus) -> None:
    backfill = instance.get_backfill(backfill_id)
    assert backfill is not None
    instance.update_backfill(backfill.with_status(status))


def test_a_request_is_reused_until_it_has_ended(
    database: Database, live: RegisteredRelease
) -> None:
    """A repeated request returns it, and can set `any_time`; after its end a new attempt begins."""
    first = request(database, live, requested_by="a", any_time=False)
    assert (first.attempt, first.state, first.any_time) == (1, "waiting", False)
    assert request(database, live, requested_by="b", any_time=False) == first
    updated = request(database, live, requested_by="b", any_time=True)
    assert (updated.backfill_id, updated.any_time) == (first.backfill_id, True)
    assert updated.requested_by == "a"
    assert mark_cancelled(database, first)
    assert not mark_cancelled(database, first)
    second = request(database, live, requested_by="c", any_time=False)
    assert (second.attempt, second.state) == (2, "waiting")
    assert states(database) == ["cancelled", "waiting"]


def test_concurrent_requests_get_one_attempt(database: Database, live: RegisteredRelease) -> None:
    """There are never two unfinished attempts."""
    attempts: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: attempts.append(
                request(database, live, requested_by="x", any_time=False).attempt
            )
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert attempts == [1] * 8


def test_a_release_that_passed_is_announced_proposed_and_run_as_one_backfill(
    database: Database, live: RegisteredRelease, other: Release, tmp_path: Path, restart: Restart
) -> None:
    """However often the sensor ticks, with or without its cursor, and after a restart."""
    name = judged(database, tmp_path, other).name
    instance = restart()
    sensor = Sensor(instance)
    sensor.tick()
    row = latest(database, name)
    assert row is not None and row.state == "waiting"
    assert rows(database, "SELECT announced FROM lalafo.active_releases") == [(name,)]
    assert read_active_releases(database).candidate is None  # sessions may load it first
    sensor.tick()
    candidate = read_active_releases(database).candidate
    assert candidate is not None and candidate.name == name
    for again in (sensor, Sensor(instance), Sensor(restart()), Sensor(restart())):
        again.tick()
        sensor = again
    assert backfills(sensor.instance) == [(row.backfill_id, "REQUESTED")]
    backfill = sensor.instance.get_backfill(row.backfill_id)
    assert backfill is not None
    assert backfill.tags[RELEASE_TAG] == name and backfill.tags[RESCORE_TAG] == row.backfill_id
    assert name in str(backfill.title) and "3 days" in str(backfill.description)
    targets = backfill.asset_backfill_data.target_subset
    for key in ("photo_embeddings", "ad_categories"):
        subset = targets.get_partitions_subset(dg.AssetKey(key))
        assert set(subset.get_partition_keys()) == {d.isoformat() for d in (FIRST, SECOND, THIRD)}


def test_concurrent_starts_create_one_backfill(
    database: Database, live: RegisteredRelease, restart: Restart
) -> None:
    """For example a command and the sensor."""
    instance = restart()
    row = request(database, live, requested_by="x", any_time=True)
    threads = [
        threading.Thread(target=start_rescore, args=(instance, database, row)) for _ in range(6)
    ]
    with database.cursor() as cursor:
        open_days(cursor, live.name)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert backfills(instance) == [(row.backfill_id, "REQUESTED")]


def test_a_release_that_did_not_pass_or_was_judged_against_another_is_left_alone(
    database: Database, live: RegisteredRelease, other: Release, tmp_path: Path, restart: Restart
) -> None:
    """The sensor requests nothing; a request by hand is cancelled with the reason."""
    bad = judged(database, tmp_path, other, why="recall of 'lamp' fell")
    sensor = Sensor(restart())
    sensor.tick()
    assert states(database) == []
    request(database, bad, requested_by="a person", any_time=True)
    _, message = sensor.tick()
    assert "recall of 'lamp' fell" in message
    write_verdict(database, bad.name, {"passed": True, "against": "another", "why": []})
    sensor.tick()
    assert states(database) == ["cancelled"]
    assert rows(database, "SELECT announced FROM lalafo.active_releases") == [(None,)]


def test_an_older_release_is_not_requested(
    database: Database, live: RegisteredRelease, other: Release, tmp_path: Path, restart: Restart
) -> None:
    """The sensor never requests a re-score for a release that is older than the live one."""
    older = judged(database, tmp_path, other)
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.releases SET created_at = now() - interval '1 day' WHERE name = %s",
            (older.name,),
        )
    Sensor(restart()).tick()
    assert states(database) == []


def test_it_waits_for_sessions_to_load_the_release_a_minute_at_most(
    database: Database,
    live: RegisteredRelease,
    other: Release,
    tmp_path: Path,
    restart: Restart,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once every session has loaded it, or after a minute, the release is the candidate."""
    name = judged(database, tmp_path, other).name
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.sessions (run_id, stream_id, topic, state, code_version, host, "
            "pid, metrics_url, backend_pid, backend_start, due_at, expires_at) VALUES ('r', 's', "
            "'ads', 'ready', 'v', 'h', 1, '', 1, now(), now(), now() + interval '1 hour')"
        )
    sensor = Sensor(restart())
    for _ in range(3):
        _, message = sensor.tick()
    assert "1 sessions are still loading" in message
    assert read_active_releases(database).candidate is None
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.sessions SET warm = %s", ([name],))
    sensor.tick()
    assert read_active_releases(database).candidate is not None

    withdraw(database, name)
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.sessions SET warm = '{}'")
    sensor.tick()  # cancels its attempt
    write_verdict(database, name, {"passed": True, "against": live.name, "why": []})
    request(database, known(database, tmp_path, other), requested_by="x", any_time=True)
    sensor = Sensor(sensor.instance)
    sensor.tick()
    sensor.tick()
    assert read_active_releases(database).candidate is None
    monkeypatch.setattr("resources.rescoring.steps.WARM_WITHIN_S", 0.0)
    sensor.tick()
    assert read_active_releases(database).candidate is not None


def test_outside_its_window_a_request_waits_and_is_not_skipped(
    database: Database,
    live: RegisteredRelease,
    restart: Restart,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One requested by hand starts at once."""
    now = datetime.now(UTC)
    first, last = now + timedelta(hours=2), now + timedelta(hours=3)
    monkeypatch.setenv("LALAFO_RESCORE_WINDOW", f"{first:%H:%M}-{last:%H:%M}")
    with database.cursor() as cursor:
        reopen_day(cursor, SECOND)
    instance = restart()
    sensor = Sensor(instance)
    row = request(database, live, requested_by="the schedule", any_time=False)
    _, message = sensor.tick()
    assert "waits for" in message and backfills(instance) == []
    request(database, live, requested_by="a person", any_time=True)
    sensor.tick()
    assert backfills(instance) == [(row.backfill_id, "REQUESTED")]


def test_a_finished_one_is_done_and_the_diff_is_requested_once(
    database: Database, live: RegisteredRelease, other: Release, tmp_path: Path, restart: Restart
) -> None:
    """It is done when no day is unscored, whatever the status of Dagster's backfill."""
    name = judged(database, tmp_path, other).name
    sensor = Sensor(restart())
    sensor.tick()
    sensor.tick()
    close(database, name, FIRST, SECOND)
    requests, _ = sensor.tick()
    assert requests == []
    close(database, name, THIRD)
    (run_request,), _ = sensor.tick()
    row = latest(database, name)
    assert row is not None and row.state == "done" and row.finished_at is not None
    assert run_request.run_key == f"diff {row.backfill_id}"
    requests, message = sensor.tick()
    assert (requests, message) == ([], "nothing to do")


def test_the_diff_is_requested_of_a_release_that_a_command_finished_and_promoted(
    database: Database, live: RegisteredRelease, other: Release, tmp_path: Path, restart: Restart
) -> None:
    """Also between two ticks, so that the re-score was unfinished in none of them; not again."""
    name = judged(database, tmp_path, other).name
    sensor = Sensor(restart())
    sensor.tick()
    sensor.tick()
    close(database, name, FIRST, SECOND, THIRD)
    row = latest(database, name)
    assert row is not None
    step = check_progress(sensor.instance, database, row)
    assert step.stage is Stage.DONE
    promote(database, name, scored_topic="ads.scored")
    (run_request,), _ = sensor.tick()
    assert run_request.run_key == f"diff {row.backfill_id}"
    rollback(database, scored_topic="ads.scored")
    assert sensor.tick()[0] == []
    rollback(database, scored_topic="ads.scored")
    assert sensor.tick()[0] == []


def test_a_failed_backfill_is_reported_and_the_next_attempt_scores_the_rest(
    database: Database, live: RegisteredRelease, other: Release, tmp_path: Path, restart: Restart
) -> None:
    """The next attempt has a backfill of its own, over the days that are still unscored."""
    release = judged(database, tmp_path, other)
    instance = restart()
    sensor = Sensor(instance)
    sensor.tick()
    sensor.tick()
    first = latest(database, release.name)
    assert first is not None
    close(database, release.name, SECOND)
    end(instance, first.backfill_id, BulkActionStatus.COMPLETED_FAILED)
    _, message = sensor.tick()
    assert f"lalafo rescore {release.name}" in message and "2 of 3 days are unscored" in message
    sensor.tick()
    assert states(database) == ["cancelled"]
    second = request(database, release, requested_by="a person", any_time=True)
    sensor.tick()
    backfill = instance.get_backfill(second.backfill_id)
    assert backfill is not None and second.backfill_id != first.backfill_id
    assert backfill.description is not None and backfill.description.startswith("2 days")


def test_withdrawing_or_cancelling_ends_the_backfill(
    database: Database, live: RegisteredRelease, other: Release, tmp_path: Path, restart: Restart
) -> None:
    release = judged(database, tmp_path, other)
    instance = restart()
    sensor = Sensor(instance)
    sensor.tick()
    sensor.tick()
    row = latest(database, release.name)
    assert row is not None
    withdraw(database, release.name)
    sensor.tick()
    assert backfills(instance) == [(row.backfill_id, "CANCELING")]
    propose(database, release.name)
    again = request(database, release, requested_by="x", any_time=True)
    sensor.tick()
    cancel(instance, database, again)
    assert sorted(backfills(instance)) == sorted(
        [(row.backfill_id, "CANCELING"), (again.backfill_id, "CANCELING")]
    )
    assert states(database) == ["cancelled", "cancelled"]


def test_a_killed_run_is_failed_and_a_live_one_is_not(
    database: Database,
    live: RegisteredRelease,
    restart: Restart,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that Dagster retries it: a killed process cannot report its failure."""
    with database.cursor() as cursor:
        reopen_day(cursor, FIRST)
    instance = restart()
    sensor = Sensor(instance)
    row = request(database, live, requested_by="x", any_time=True)
    sensor.tick()
    backfill = instance.get_backfill(row.backfill_id)
    assert backfill is not None and backfill.tags["dagster/max_retries"] == "3"
    run = instance.create_run_for_job(
        REPOSITORY.get_job("rescore_days"),
        tags={RESCORE_TAG: row.backfill_id},
        status=dg.DagsterRunStatus.STARTED,
    )
    instance.report_engine_event("began", run)

    def status() -> dg.DagsterRunStatus:
        current = instance.get_run_by_id(run.run_id)
        assert current is not None
        return current.status

    sensor.tick()
    assert status() is dg.DagsterRunStatus.STARTED  # its last event is recent
    monkeypatch.setattr("sensors.releases.SILENT_S", 0.0)
    with at_work(database, run.run_id):
        assert is_at_work(database, run.run_id) and not is_at_work(database, "another")
        sensor.tick()
        assert status() is dg.DagsterRunStatus.STARTED
    assert not is_at_work(database, run.run_id)
    sensor.tick()
    assert status() is dg.DagsterRunStatus.FAILURE


def test_dagster_shows_which_days_are_behind(
    database: Database, live: RegisteredRelease, other: Release, tmp_path: Path, restart: Restart
) -> None:
    """One cell per day and release; the check names the days; inactive releases are removed."""
    name = judged(database, tmp_path, other).name
    instance = restart()
    sensor = Sensor(instance)
    sensor.tick()
    sensor.tick()
    close(database, name, FIRST, THIRD)
    sensor.tick()

    def cells() -> set[str]:
        return {str(key) for key in instance.get_materialized_partitions(RELEASE_SCORES)}

    # The live release was never re-scored for these days: ads committed since have its predictions.
    assert cells() == {f"{day.isoformat()}|{name}" for day in (FIRST, THIRD)} | {
        f"{day.isoformat()}|{live.name}" for day in (FIRST, SECOND, THIRD)
    }
    assert set(instance.get_dynamic_partitions("releases")) == {live.name, name}
    assert set(instance.get_dynamic_partitions("release_days")) == {
        day.isoformat() for day in (FIRST, SECOND, THIRD)
    }

    def checked() -> tuple[bool, str]:
        key = dg.AssetCheckKey(RELEASE_SCORES, BEHIND_CHECK)
        found = instance.event_log_storage.get_asset_check_summary_records([key])[key]
        record = found.last_check_execution_record
        assert record is not None and record.event is not None
        evaluation = record.event.dagster_event.event_specific_data
        return evaluation.passed, evaluation.description

    assert checked() == (True, f"no day is behind {live.name}")
    with database.cursor() as cursor:
        reopen_day(cursor, SECOND)
        reopen_day(cursor, THIRD)
    sensor.tick()
    assert checked() == (False, f"2 days are behind {live.name}: 2026-03-02, 2026-03-05")
    withdraw(database, name)
    sensor.tick()
    assert instance.get_dynamic_partitions("releases") == [live.name]
