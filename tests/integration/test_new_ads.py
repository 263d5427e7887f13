"""The sensor on a real broker, PostgreSQL and Dagster instance: one run asked for, none lost."""

from collections.abc import Iterator

import dagster as dg
import pytest

from lalafo_assets.definitions import defs
from ops.asset_names import SESSION_JOB, SESSION_TAG
from resources.dagster_resources import AdStreamResource, DatabaseResource
from tests.integration.live import Live, ad


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def environment(live: Live, monkeypatch: pytest.MonkeyPatch) -> Live:
    """The settings of `live`, as the sensor reads them: from the environment."""
    for name in ("ads_topic", "dlq_topic", "kafka_bootstrap", "kafka_api_version", "stream_id"):
        monkeypatch.setenv(f"LALAFO_{name.upper()}", str(getattr(live.settings, name)))
    monkeypatch.setenv("LALAFO_DATABASE_URL", live.settings.database_url)
    return live


REPOSITORY = defs().get_repository_def()
SENSOR = REPOSITORY.get_sensor_def("new_ads")


def tick(instance: dg.DagsterInstance) -> dg.RunRequest | str:
    """What one tick says: a request, or why not."""
    context = dg.build_sensor_context(
        instance=instance,
        repository_def=REPOSITORY,
        resources={"database": DatabaseResource(), "ad_stream": AdStreamResource()},
    )
    data = SENSOR.evaluate_tick(context)
    if data.run_requests:
        (request,) = data.run_requests
        return request
    return str(data.skip_message)


def start(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus) -> str:
    """Make the run that the daemon would make, in a status."""
    run = instance.create_run_for_job(
        REPOSITORY.get_job(SESSION_JOB), tags=request.tags, status=status
    )
    return run.run_id


def test_waiting_events_ask_for_one_run(environment: Live, instance: dg.DagsterInstance) -> None:
    """Ticks that overlap ask under the same key; a run that is starting is waited for."""
    assert str(tick(instance)) == "no event waits"
    environment.publish(ad("1", []))
    first, second = tick(instance), tick(instance)
    assert isinstance(first, dg.RunRequest) and isinstance(second, dg.RunRequest)
    assert first.run_key == second.run_key
    assert first.partition_key is not None
    run_id = start(instance, first, dg.DagsterRunStatus.STARTED)
    assert tick(instance) == f"run {run_id} is starting"


def test_a_drained_topic_is_left_alone(environment: Live, instance: dg.DagsterInstance) -> None:
    """After a session nothing waits; the next events ask under another key."""
    environment.publish(ad("1", []))
    first = tick(instance)
    environment.drain()
    assert str(tick(instance)) == "no event waits"
    environment.publish(ad("1", [], revision=2))
    second = tick(instance)
    assert isinstance(first, dg.RunRequest) and isinstance(second, dg.RunRequest)
    assert first.run_key != second.run_key


def test_a_run_that_a_killed_stack_left_started_is_replaced_and_failed(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """Its lease is dead: another run is asked for at once, and the old one fails in time."""
    environment.publish(ad("1", []))
    request = tick(instance)
    assert isinstance(request, dg.RunRequest)
    run_id = start(instance, request, dg.DagsterRunStatus.STARTED)
    stream_id = environment.stream.stream_id()
    with environment.database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.leases SELECT %s, %s, p, 1, %s, 0, now(), now(), "
            "now() - interval '2 minutes' FROM unnest(%s::int[]) AS p",
            (stream_id, environment.settings.ads_topic, run_id, environment.stream.partitions()),
        )
    assert "1 runs ended without progress" in str(tick(instance))
    run = instance.get_run_by_id(run_id)
    assert run is not None and run.status is dg.DagsterRunStatus.FAILURE


def test_runs_that_fail_are_waited_after(environment: Live, instance: dg.DagsterInstance) -> None:
    """A session that fails at once is asked for again under a new key, after a wait."""
    environment.publish(ad("1", []))
    first = tick(instance)
    assert isinstance(first, dg.RunRequest)
    start(instance, first, dg.DagsterRunStatus.FAILURE)
    assert "1 runs ended without progress" in str(tick(instance))
    assert first.tags[SESSION_TAG]


def test_an_outage_is_a_reason_not_a_failure(
    environment: Live, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is away is named in the tick; the next one looks again."""
    monkeypatch.setenv("LALAFO_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    assert "LALAFO_KAFKA_BOOTSTRAP" in str(tick(instance))
    monkeypatch.delenv("LALAFO_KAFKA_BOOTSTRAP")
    assert "LALAFO_KAFKA_BOOTSTRAP is not set" in str(tick(instance))
