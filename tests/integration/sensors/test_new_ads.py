"""The sensor `new_ads` on a real broker, PostgreSQL and Dagster instance."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from lalafo_assets.definitions import defs
from resources.dagster.names import ROLE_TAG, SESSION_JOB
from resources.dagster.resources import AdStreamResource, DatabaseResource
from resources.sessions.group.members import MembershipConfig, read_sessions
from resources.sessions.group.membership import SessionMembership
from tests.support.live_session import Live, ad
from tests.support.odd_batches import confluent, damage_on_disk
from tests.support.working_sessions import Working, until


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def environment(live: Live, monkeypatch: pytest.MonkeyPatch) -> Live:
    """The settings of `live` as environment variables, where the sensor reads them."""
    for name in ("ads_topic", "dlq_topic", "kafka_bootstrap", "kafka_api_version", "stream_id"):
        monkeypatch.setenv(f"LALAFO_{name.upper()}", str(getattr(live.settings, name)))
    monkeypatch.setenv("LALAFO_DATABASE_URL", live.settings.database_url)
    monkeypatch.setenv("LALAFO_CODE_VERSION", "v1")
    return live


REPOSITORY = defs().get_repository_def()
SENSOR = REPOSITORY.get_sensor_def("new_ads")


def tick(instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    """The run requests of one tick, or its skip reason."""
    context = dg.build_sensor_context(
        instance=instance,
        repository_def=REPOSITORY,
        resources={"database": DatabaseResource(), "ad_stream": AdStreamResource()},
    )
    data = SENSOR.evaluate_tick(context)
    return list(data.run_requests) if data.run_requests else str(data.skip_message)


def requests(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """The run requests of a tick; fails if it was skipped."""
    result = tick(instance)
    assert not isinstance(result, str), result
    return result


def start(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus) -> str:
    """Create the run as the daemon does, with a status."""
    run = instance.create_run_for_job(
        REPOSITORY.get_job(SESSION_JOB), tags=request.tags, status=status
    )
    return run.run_id


@contextmanager
def session(
    live: Live,
    run_id: str = "one",
    *,
    session_s: float = 3_600,
    code: str = "v1",
    stream_id: str | None = None,
) -> Iterator[SessionMembership]:
    """A live session: it is a member, and ready."""
    config = MembershipConfig(
        run_id=run_id,
        stream_id=live.stream.stream_id() if stream_id is None else stream_id,
        topic=live.settings.ads_topic,
        partitions=tuple(live.stream.partitions()),
        sessions=2,
        session_s=session_s,
        ttl_s=60,
        code_version=code,
    )
    with SessionMembership(
        live.database, config, positions=lambda ps: dict.fromkeys(ps, 0)
    ) as membership:
        membership.ready()

        def is_seen() -> bool:
            sessions = read_sessions(live.database, config.topic)
            return sessions[run_id].member.state == "ready"

        until(is_seen)
        yield membership


def test_sessions_are_requested_even_if_no_event_waits(
    environment: Live, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ad must find a warm session: as many are started as the settings say."""
    monkeypatch.setenv("LALAFO_SESSIONS", "2")
    first, second = requests(instance), requests(instance)
    keys = [request.run_key for request in first]
    assert len(set(keys)) == 2
    assert [request.run_key for request in second] == keys, "overlapping ticks give the same keys"
    assert all(request.partition_key is not None for request in first)
    for request in first:
        start(instance, request, dg.DagsterRunStatus.STARTED)
    assert "0 of 2 fresh sessions, 2 starting" in str(tick(instance))


def test_a_missing_session_is_requested_with_a_new_key(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """After a session has ended the next needs another key, or Dagster would start none."""
    (first,) = requests(instance)
    start(instance, first, dg.DagsterRunStatus.SUCCESS)
    (second,) = requests(instance)
    assert first.run_key != second.run_key


def test_a_live_session_is_enough(environment: Live, instance: dg.DagsterInstance) -> None:
    """However many events wait, and whether or not Dagster knows its run."""
    environment.publish(ad("1", []), ad("2", []))
    with session(environment):
        assert str(tick(instance)) == "1 of 1 fresh sessions"
    assert len(requests(instance)) == 1


def test_a_session_that_an_earlier_stack_left_is_not_enough(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """It holds its membership while it reads a broker that has ended, and scores nothing."""
    with session(environment, "left", stream_id="embedded-of-an-earlier-stack"):
        (request,) = requests(instance)
        start(instance, request, dg.DagsterRunStatus.STARTED)
        assert "0 of 1 fresh sessions, 1 starting, 1 of another stream" in str(tick(instance))
        with session(environment, "own"):
            assert "1 of 1 fresh sessions" in str(tick(instance))


def test_without_an_answer_of_kafka_every_session_counts(
    environment: Live, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no setting names the stream, Kafka does; its outage starts no second session."""
    monkeypatch.setenv("LALAFO_STREAM_ID", "")
    monkeypatch.setenv("LALAFO_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    with session(environment):
        assert str(tick(instance)) == "1 of 1 fresh sessions"


def test_no_session_starts_before_a_release_is_live(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """It could score nothing and would fail; the tick says what to do."""
    with environment.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.active_releases")
    assert "no release is live" in str(tick(instance))
    assert "lalafo releases install starter" in str(tick(instance))


def test_with_idle_minutes_a_session_starts_only_for_events(
    environment: Live, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scale to zero: no session starts for an empty topic, one starts for the first ad."""
    monkeypatch.setenv("LALAFO_IDLE_MINUTES", "5")
    assert "no events waiting" in str(tick(instance))
    environment.publish(ad("1", []))
    assert len(requests(instance)) == 1
    environment.drain()
    assert "no events waiting" in str(tick(instance))


ON_KAFKA = pytest.mark.parametrize(
    "broker", [pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True
)


@ON_KAFKA
def test_with_idle_minutes_no_session_starts_for_what_it_would_not_read(
    environment: Live, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aborted ads, a transaction's marker, an open transaction: none is an event that waits."""
    monkeypatch.setenv("LALAFO_IDLE_MINUTES", "5")
    topic = environment.settings.ads_topic
    producer = confluent(environment.stream.config.bootstrap, transactional_id=f"{topic}-1")
    producer.init_transactions(20)

    def transact(name: str) -> None:
        producer.begin_transaction()
        value = json.dumps(ad(name, []))
        producer.produce(topic, value, key=f"kg/{name}", partition=0)
        producer.flush(20)

    transact("aborted")
    producer.abort_transaction(20)
    assert "no events waiting" in str(tick(instance))
    transact("committed")
    assert "no events waiting" in str(tick(instance)), "it may still be aborted"
    producer.commit_transaction(20)
    assert len(requests(instance)) == 1
    environment.drain()
    assert "; 0 events waiting" in str(tick(instance))
    assert environment.rows("SELECT ad_id FROM lalafo.ads") == [("committed",)]


@ON_KAFKA
def test_with_idle_minutes_a_stopped_partition_starts_no_session_after_session(
    environment: Live,
    instance: dg.DagsterInstance,
    kafka_server: KafkaServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One would stop at it again and end; where the setting says skip, one starts and skips it."""
    monkeypatch.setenv("LALAFO_IDLE_MINUTES", "5")
    topic = environment.settings.ads_topic
    with environment.stream.publisher() as publisher:
        publisher.publish(topic, b"kg/1", b"to be damaged", partition=0).result(10)
    damage_on_disk(kafka_server, topic, 0, b"to be damaged")
    assert len(requests(instance)) == 1, "its session records it"
    with Working(environment):
        until(lambda: environment.rows("SELECT reason FROM lalafo.failures"))
    assert "no events waiting" in str(tick(instance))
    monkeypatch.setenv("LALAFO_UNREADABLE_BATCH", "skip")
    assert len(requests(instance)) == 1


def test_a_successor_is_requested_before_the_session_is_due(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """It imports torch while the old session goes on; no second one is requested."""
    with session(environment, "old", session_s=60):
        (request,) = requests(instance)
        run_id = start(instance, request, dg.DagsterRunStatus.STARTED)
        assert "1 handing over, 1 starting" in str(tick(instance))
        with session(environment, run_id):
            assert "1 of 1 fresh sessions, 1 handing over" in str(tick(instance))


def test_a_session_of_other_code_is_replaced(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """A deployment is a handover: the old session is neither failed nor counted."""
    with session(environment, "old", code="v0"):
        (request,) = requests(instance)
        run_id = start(instance, request, dg.DagsterRunStatus.STARTED)
        with session(environment, run_id):
            assert "1 of 1 fresh sessions, 1 handing over" in str(tick(instance))


def test_a_run_that_a_killed_stack_left_started_is_replaced_and_failed(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """Its membership expired: another run is requested at once, and the old run fails later."""
    (request,) = requests(instance)
    run_id = start(instance, request, dg.DagsterRunStatus.STARTED)
    with session(environment, run_id):
        assert isinstance(tick(instance), str)
    (again,) = requests(instance)
    assert again.run_key != request.run_key
    run = instance.get_run_by_id(run_id)
    assert run is not None and run.status is dg.DagsterRunStatus.STARTED, (
        "it may be writing its reports"
    )
    with environment.database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.sessions SET expires_at = now() - interval '2 minutes'")
    tick(instance)
    run = instance.get_run_by_id(run_id)
    assert run is not None and run.status is dg.DagsterRunStatus.FAILURE
    assert run.tags[ROLE_TAG] == "dead"


def test_starts_back_off_after_runs_that_fail_at_once(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """A session that fails at once is not started again at once."""
    (request,) = requests(instance)
    start(instance, request, dg.DagsterRunStatus.FAILURE)
    assert "sessions fail soon after their start" in str(tick(instance))


def test_an_outage_skips_the_tick(
    environment: Live, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The skip reason names what is unavailable; the next tick tries again."""
    with monkeypatch.context() as patched:
        patched.setenv("LALAFO_KAFKA_BOOTSTRAP", "127.0.0.1:9")
        assert "LALAFO_KAFKA_BOOTSTRAP" in str(tick(instance))
        patched.delenv("LALAFO_KAFKA_BOOTSTRAP")
        assert "LALAFO_KAFKA_BOOTSTRAP is not set" in str(tick(instance))
    with monkeypatch.context() as patched:
        patched.setenv("LALAFO_DATABASE_URL", "postgresql://u@127.0.0.1:9/d")
        assert "LALAFO_DATABASE_URL" in str(tick(instance))
    assert len(requests(instance)) == 1
