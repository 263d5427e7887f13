"""Outages while a session runs: it waits and continues, and no ad is lost or duplicated."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from lalafo_assets.demo.photo_host import PhotoHost
from ops.models.release import Release
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from resources.kafka.outbox import relay
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import Settings
from resources.upkeep.requeue import requeue_ads
from tests.conftest import connect_args
from tests.support.live_session import Live, ad, live_parts
from tests.support.odd_photos import jpeg, noisy
from tests.support.working_sessions import Working, until

ADS = 30
BROKER_OUTAGE_S = 20


def publish(live: Live, first: int, last: int) -> None:
    url = live.photo("a.jpg", jpeg(noisy(80, 60, 1)))
    live.publish(*(ad(str(number), [url]) for number in range(first, last)))


def settings_for(
    tmp_path: Path, database: Database, exports: dict[str, str], topic: str
) -> Settings:
    fields = {name.removeprefix("LALAFO_").lower(): value for name, value in exports.items()}
    (tmp_path / "photos").mkdir()
    return Settings.model_validate(
        {
            **fields,
            "ads_topic": topic,
            "dlq_topic": f"{topic}.dlq",
            "home": tmp_path,
            "database_url": database.url.render_as_string(),
            "fetch_allow_private": True,
            "model_mode": "eager",
        }
    )


def check(live: Live, worker: Working) -> None:
    """Each ad is stored once, and every event is accounted for."""
    assert worker.error is None, worker.error
    assert worker.total is not None and worker.total.unaccounted == 0
    written = live.rows("SELECT count(*), count(DISTINCT ad_id) FROM lalafo.predictions")
    assert written == [(ADS, ADS)], f"{written} of {ADS} ads"


@pytest.mark.kafka
def test_the_broker_is_stopped_and_restarted(
    tmp_path: Path, database: Database, release: Release, kafka_server: KafkaServer
) -> None:
    """Kafka is stopped for 20 s and restarted: the session polls on from the same offsets, its
    pending records are published, and the lag drains."""
    settings = settings_for(tmp_path, database, kafka_server.exports(), "ads-broker-outage")
    with (
        PhotoHost(tmp_path / "photos") as host,
        AdStream.from_settings(settings) as stream,
    ):
        live = live_parts(database, settings, stream, host, release)
        with Working(live) as worker:
            publish(live, 0, 10)
            worker.wait_for(10)
            kafka_server.stop()
            threading.Event().wait(BROKER_OUTAGE_S)
            waiting = worker.session.session.snapshot().waiting_for_s
            assert "kafka" in waiting, f"the outage is not reported: {waiting}"
            kafka_server.restart()
            publish(live, 10, ADS)
            worker.wait_for(ADS)
            until(lambda: live.rows("SELECT count(*) FROM lalafo.outbox") == [(0,)])
            until(lambda: worker.session.session.snapshot().waiting_for_s == {})
        check(live, worker)


@pytest.fixture
def own_postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    """A server that a test may stop."""
    server = EmbeddedPostgres(home)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def on_own_postgres(
    tmp_path: Path,
    own_postgres: EmbeddedPostgres,
    embedded_broker: EmbeddedBroker,
    release: Release,
    request: pytest.FixtureRequest,
) -> Iterator[Live]:
    with closing(Database(own_postgres.url())) as database:
        database.migrate()
        topic = f"ads-{request.node.name[:60]}"
        settings = settings_for(tmp_path, database, embedded_broker.exports(), topic)
        with (
            PhotoHost(tmp_path / "photos") as host,
            AdStream.from_settings(settings) as stream,
        ):
            yield live_parts(database, settings, stream, host, release)


def test_postgresql_is_stopped_and_restarted(
    on_own_postgres: Live, own_postgres: EmbeddedPostgres
) -> None:
    """PostgreSQL is stopped while events arrive: they wait, and each is written once."""
    live = on_own_postgres
    with Working(live) as worker:
        publish(live, 0, 10)
        worker.wait_for(10)
        own_postgres.stop()
        publish(live, 10, ADS)
        threading.Event().wait(2)
        own_postgres.start()
        worker.wait_for(ADS)
    check(live, worker)


def test_postgresql_is_killed_during_a_commit(
    on_own_postgres: Live, own_postgres: EmbeddedPostgres
) -> None:
    """The server is killed -9 after ads and predictions are written and before the offsets: after
    its recovery that commit is rolled back, and each ad is written once."""
    live = on_own_postgres
    with Working(live) as worker:
        publish(live, 0, 10)
        worker.wait_for(10)
        blocker = psycopg.connect(**connect_args(own_postgres.url()))
        blocker.execute("LOCK TABLE lalafo.stage_timings IN ACCESS EXCLUSIVE MODE")
        publish(live, 10, ADS)
        until(lambda: _waits_for_a_lock(own_postgres))
        pid = own_postgres.pid
        assert pid is not None
        family = [psutil.Process(pid), *psutil.Process(pid).children()]
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=10)
        blocker.close()
        own_postgres.start()
        worker.wait_for(ADS)
    check(live, worker)


def _waits_for_a_lock(server: EmbeddedPostgres) -> bool:
    """Whether a commit waits for `stage_timings`, after writing its ads and predictions."""
    with psycopg.connect(**connect_args(server.url())) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted "
            "AND relation = 'lalafo.stage_timings'::regclass"
        ).fetchone()
        return row is not None and row[0] > 0


def test_the_photo_host_is_stopped_and_restarted(
    tmp_path: Path, database: Database, embedded_broker: EmbeddedBroker, release: Release
) -> None:
    """Ads whose photos are unreachable block no other ad, have the reason stored, and are scored
    after upkeep has requeued them."""
    settings = settings_for(tmp_path, database, embedded_broker.exports(), "ads-host-outage")
    with AdStream.from_settings(settings) as stream:
        host = PhotoHost(tmp_path / "photos").start()
        live = live_parts(database, settings, stream, host, release)
        url = live.photo("a.jpg", jpeg(noisy(80, 60, 1)))
        with Working(live) as worker:
            host.stop()
            live.publish(*(ad(str(number), [url]) for number in range(ADS)))
            worker.wait_for(ADS)
            reasons = live.rows(
                "SELECT status, reason, count(*) FROM lalafo.ads "
                "JOIN lalafo.ad_photos USING (catalog, ad_id) GROUP BY 1, 2"
            )
            assert reasons == [("unscored", "fetch_unreachable", ADS)]
            with PhotoHost(tmp_path / "photos", port=host.port), stream.publisher() as publisher:
                queued = requeue_ads(database, settings.ads_topic, retry_s=0)
                assert queued.out_of_reach == ADS
                assert relay(database, publisher, older_than_s=0, limit=1_000) >= ADS
                until(
                    lambda: (
                        live.rows("SELECT status, count(*) FROM lalafo.ads GROUP BY 1")
                        == [("scored", ADS)]
                    )
                )
                assert requeue_ads(database, settings.ads_topic, retry_s=0).out_of_reach == 0
        check(live, worker)
