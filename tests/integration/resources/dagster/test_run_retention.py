"""Old runs are deleted from Dagster's storage on PostgreSQL; the assets' state is preserved."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml
from pydantic import Field
from sqlalchemy.engine import make_url

from resources.dagster.run_retention import KEPT_TAG, RunsPruned, prune_runs
from tests.conftest import connect_args

ASSET = dg.AssetKey("ad_photos")


@pytest.fixture
def instance(database_url: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance whose storage is a fresh database, as in production."""
    url = make_url(database_url).set(drivername="postgresql+psycopg2")
    text = url.render_as_string(hide_password=False)
    config = {"storage": {"postgres": {"postgres_url": text}}, "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


class Session(dg.Config):
    days: list[str] = Field(default_factory=list)
    fails: bool = False


@dg.op
def session(context: dg.OpExecutionContext, config: Session) -> None:
    for day in config.days:
        context.log_event(dg.AssetMaterialization(ASSET, partition=day, tags={"k": "v"}))
        context.log_event(dg.AssetObservation(ASSET, partition=day))
    if config.fails:
        raise dg.Failure("as configured")


@dg.job(executor_def=dg.in_process_executor)
def stream() -> None:
    session()


def run(instance: dg.DagsterInstance, *days: str, fails: bool = False) -> str:
    config = {"ops": {"session": {"config": {"days": list(days), "fails": fails}}}}
    return stream.execute_in_process(config, instance=instance, raise_on_error=False).run_id


def unfinished(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    return instance.create_run_for_job(stream, status=status).run_id


def make_older(database_url: str, days: float, *run_ids: str) -> None:
    """Set the runs' timestamps to so many days earlier."""
    with psycopg.connect(**connect_args(database_url)) as connection:
        connection.execute(
            "UPDATE runs SET update_timestamp = update_timestamp - make_interval(secs => %s), "
            "create_timestamp = create_timestamp - make_interval(secs => %s) "
            "WHERE run_id = ANY(%s)",
            (days * 86400, days * 86400, list(run_ids)),
        )


def events_of(instance: dg.DagsterInstance, run_id: str) -> int:
    return len(instance.all_logs(run_id))


def test_old_finished_runs_are_deleted_with_their_events(
    instance: dg.DagsterInstance, database_url: str
) -> None:
    """Succeeded, failed, canceled: deleted with log and captured output. Recent runs stay."""
    done, failed = run(instance), run(instance, fails=True)
    canceled = unfinished(instance, dg.DagsterRunStatus.CANCELED)
    recent = run(instance)
    output = Path(instance.root_directory) / "storage" / done / "compute_logs"
    output.mkdir(parents=True, exist_ok=True)
    (output / "step.err").write_text("output")
    make_older(database_url, 31, done, failed, canceled)
    make_older(database_url, 29, recent)
    gone: list[str] = []
    assert prune_runs(instance, keep_days=30, deleted=gone.append) == RunsPruned(deleted=3)
    assert sorted(gone) == sorted([done, failed, canceled])
    assert [record.run_id for record in instance.get_runs()] == [recent]
    assert [events_of(instance, it) for it in (done, failed, canceled)] == [0, 0, 0]
    assert events_of(instance, recent) > 0
    assert not output.exists()
    assert prune_runs(instance, keep_days=30) == RunsPruned()


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
def test_a_run_that_has_not_finished_is_never_deleted(
    instance: dg.DagsterInstance, database_url: str, status: dg.DagsterRunStatus
) -> None:
    """However old."""
    run_id = unfinished(instance, dg.DagsterRunStatus.STARTED)
    with psycopg.connect(**connect_args(database_url)) as connection:
        # Directly in the database: Dagster's own API needs a code location for a queued run.
        connection.execute("UPDATE runs SET status = %s", (status.value,))
    make_older(database_url, 1_000, run_id)
    assert prune_runs(instance, keep_days=1) == RunsPruned()
    assert instance.get_runs_count() == 1


def test_a_partitions_last_materialization_stays(
    instance: dg.DagsterInstance, database_url: str
) -> None:
    """Days stay materialized by the same events; superseded runs are deleted."""
    superseded = run(instance, "1", "2")
    last_of_one = run(instance, "1", "1")
    last_of_two = run(instance, "2", "3")
    last_of_three = run(instance, "3")
    runs = (superseded, last_of_one, last_of_two, last_of_three)
    make_older(database_url, 31, *runs)
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    before = instance.get_latest_storage_id_by_partition(ASSET, kind)
    assert prune_runs(instance, keep_days=30) == RunsPruned(deleted=1, kept=3)
    assert instance.get_latest_storage_id_by_partition(ASSET, kind) == before
    assert instance.get_materialized_partitions(ASSET) == {"1", "2", "3"}
    assert not instance.has_run(superseded)
    # Their timestamps are new: they are not checked again at every call.
    assert prune_runs(instance, keep_days=30) == RunsPruned()
    kept = instance.get_run_by_id(last_of_two)
    assert kept is not None and "last materialization" in kept.tags[KEPT_TAG]
    run(instance, "1")
    make_older(database_url, 31, last_of_one, last_of_two, last_of_three)
    assert prune_runs(instance, keep_days=30) == RunsPruned(deleted=1, kept=2)
    assert not instance.has_run(last_of_one)


def test_deleting_the_run_itself_would_lose_the_day(
    instance: dg.DagsterInstance, database_url: str
) -> None:
    """The reason for the check: Dagster 1.13's delete_run makes the partition missing."""
    run_id = run(instance, "1")
    assert instance.get_materialized_partitions(ASSET) == {"1"}
    instance.delete_run(run_id)
    assert instance.get_materialized_partitions(ASSET) == set()


def test_an_unpartitioned_assets_last_materialization_stays(
    instance: dg.DagsterInstance, database_url: str
) -> None:
    """`model_release` has no days."""

    @dg.op
    def install(context: dg.OpExecutionContext) -> None:
        context.log_event(dg.AssetMaterialization("model_release"))

    @dg.job
    def installs() -> None:
        install()

    first, last = (installs.execute_in_process(instance=instance).run_id for _ in range(2))
    make_older(database_url, 31, first, last)
    assert prune_runs(instance, keep_days=30) == RunsPruned(deleted=1, kept=1)
    assert instance.has_run(last)


def test_one_call_checks_at_most_limit_runs_the_oldest_first(
    instance: dg.DagsterInstance, database_url: str
) -> None:
    """The next call continues; a kept run does not block it."""
    runs = [run(instance, "1")] + [run(instance) for _ in range(4)]
    for age, run_id in zip((50, 44, 43, 42, 41), runs, strict=True):
        make_older(database_url, age, run_id)
    assert prune_runs(instance, keep_days=30, limit=2) == RunsPruned(deleted=1, kept=1)
    assert [instance.has_run(it) for it in runs] == [True, False, True, True, True]
    assert prune_runs(instance, keep_days=30, limit=2) == RunsPruned(deleted=2)
    assert prune_runs(instance, keep_days=30, limit=2) == RunsPruned(deleted=1)


def test_successful_frequent_runs_are_kept_for_a_shorter_time(
    instance: dg.DagsterInstance, database_url: str
) -> None:
    """Only runs of the named job; failures are kept as long as all others."""
    succeeded, failed, recent = run(instance), run(instance, fails=True), run(instance)
    make_older(database_url, 2, succeeded, failed)
    frequent = {"stream": timedelta(days=1)}
    assert prune_runs(instance, keep_days=30, frequent={"other": timedelta()}) == RunsPruned()
    assert prune_runs(instance, keep_days=30, frequent=frequent) == RunsPruned(deleted=1)
    assert [instance.has_run(it) for it in (succeeded, failed, recent)] == [False, True, True]


def test_ticks_are_pruned_by_dagster_itself() -> None:
    """`retention` in dagster.yaml covers every kind of tick that Dagster would keep permanently."""
    text = (Path(__file__).parents[4] / "dagster.yaml").read_text()
    retention = yaml.safe_load(text)["retention"]
    assert set(retention["sensor"]["purge_after_days"]) >= {"skipped", "success", "failure"}
    assert retention["schedule"]["purge_after_days"] > 0
