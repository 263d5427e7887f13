"""The job `upkeep` as Dagster runs it: every duty runs and reports, independently of the others."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from lalafo_assets.jobs.upkeep import UPKEEP_JOB, upkeep_job, upkeep_schedule
from resources.dagster.executors import Execution
from resources.dagster.resources import RESOURCES
from resources.kafka.outbox import put
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore
from tests.conftest import BrokerUnderTest
from tests.integration.lalafo_assets.commands.kafka.test_dlq import refuse
from tests.integration.resources.upkeep.test_photos import add_photo, photos
from tests.integration.resources.upkeep.test_requeue import write
from tests.support.batches import event
from tests.support.topic_records import everything_on

DUTIES = [
    *("delete_rows", "delete_runs", "queue_unscored"),
    *("remove_photos", "remove_releases", "remove_uploads", "republish_lost", "send_outbox"),
]
NOW = {
    "ops": {
        "remove_photos": {"config": {"orphaned_minutes": 0}},
        "send_outbox": {"config": {"older_than_s": 0}},
    }
}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def stream(
    database: Database, broker: BrokerUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AdStream]:
    """Export the broker, the database and a store to the environment."""
    settings = broker.settings()
    for name in ("ads_topic", "dlq_topic", "kafka_bootstrap", "kafka_api_version"):
        monkeypatch.setenv(f"LALAFO_{name.upper()}", getattr(settings, name))
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.url.render_as_string())
    monkeypatch.setenv("LALAFO_STORE_URL", str(tmp_path / "store"))
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics(partitions=2)
        yield stream


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return upkeep_job(Execution()).execute_in_process(
        NOW, instance=instance, resources=RESOURCES, raise_on_error=False
    )


def counts_by_duty(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, object]]:
    """Return each duty's counts, from the metadata of its output."""
    return {
        event.step_key: {
            name: value.value for name, value in event.event_specific_data.metadata.items()
        }
        for event in result.all_events
        if event.event_type is dg.DagsterEventType.STEP_OUTPUT and event.step_key is not None
    }


def add_work(database: Database, tmp_path: Path, topic: str) -> None:
    """Add something to do for several duties."""
    (tmp_path / "store").mkdir(exist_ok=True)
    store = PhotoStore(str(tmp_path / "store"), fsync=False)
    add_photo(database, store, "orphaned")
    refuse(database, 1, at=datetime(2020, 1, 1, tzinfo=UTC))
    write(database, event("1", photos=0), "received", [])
    with database.cursor() as cursor:
        put(cursor, topic, b"kg/9", b"left behind")


def test_a_run_does_every_duty_and_reports_its_counts(
    database: Database, stream: AdStream, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Photos, rows, ads, outbox, runs; a second run finds nothing to do."""
    topic = stream.config.ads_topic
    add_work(database, tmp_path, topic)
    result = run(instance)
    assert result.success
    counts = counts_by_duty(result)
    assert sorted(counts) == DUTIES
    assert (counts["remove_photos"]["removed"], counts["remove_photos"]["objects"]) == (1, 2)
    assert counts["remove_releases"] == {"retired": 0, "emptied": 0, "embeddings": 0}
    assert {name: n for name, n in counts["delete_rows"].items() if n} == {"failures": 1}
    assert counts["remove_uploads"] == {"uploads": 0}
    assert counts["queue_unscored"] == {"received": 1, "out_of_reach": 0, "unreadable": 0}
    assert counts["send_outbox"] == {"sent": 2, "remaining": 0}
    assert counts["delete_runs"] == {"deleted": 0, "kept": 0}
    assert photos(database) == set()
    assert {record.key for record in everything_on(stream, topic)} == {b"kg/9", b"kg/1"}
    lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "received 1, out of reach 0, unreadable 0" in lines
    again = counts_by_duty(run(instance))
    assert sum(int(str(n)) for counts in again.values() for n in counts.values()) == 0


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_a_duty_that_fails_stops_no_other_and_fails_the_run(
    database: Database,
    stream: AdStream,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The broker is unreachable: duties without it succeed; the failure names the setting."""
    add_work(database, tmp_path, stream.config.ads_topic)
    monkeypatch.setenv("LALAFO_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    result = run(instance)
    assert not result.success
    assert sorted(counts_by_duty(result)) == [duty for duty in DUTIES if duty != "send_outbox"]
    (failed,) = result.get_step_failure_events()
    assert failed.step_key == "send_outbox"
    assert "LALAFO_KAFKA_BOOTSTRAP" in str(failed.event_specific_data.user_failure_data.description)
    monkeypatch.setenv("LALAFO_KAFKA_BOOTSTRAP", stream.config.bootstrap)
    assert counts_by_duty(run(instance))["send_outbox"] == {"sent": 2, "remaining": 0}


def tick(instance: dg.DagsterInstance) -> object:
    schedule = upkeep_schedule(upkeep_job(Execution()))
    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=datetime(2026, 5, 1, 12, 15, tzinfo=UTC)
    ) as context:
        return schedule(context)


def test_the_schedule_skips_while_a_run_is_unfinished(tmp_path: Path) -> None:
    """Two runs at once have no benefit; once a run has ended, the next tick starts another."""
    instance = dg.DagsterInstance.local_temp(str(tmp_path))
    schedule = upkeep_schedule(upkeep_job(Execution()))
    assert (schedule.cron_schedule, schedule.default_status) == (
        *("*/15 * * * *", dg.DefaultScheduleStatus.RUNNING),
    )
    assert isinstance(tick(instance), dg.RunRequest)
    first = instance.create_run_for_job(upkeep_job(Execution()), status=dg.DagsterRunStatus.STARTED)
    assert first.job_name == UPKEEP_JOB
    assert first.run_id in str(tick(instance))
    instance.report_run_failed(first)
    assert isinstance(tick(instance), dg.RunRequest)


def test_no_pool_and_no_gpu() -> None:
    """It does not use a session's slot in a pool; on Kubernetes its pod requests no GPU."""
    for duty in upkeep_job(Execution("k8s")).all_node_defs:
        assert isinstance(duty, dg.OpDefinition) and duty.pool is None
    assert "nvidia" not in str(upkeep_job(Execution("k8s")).tags)
