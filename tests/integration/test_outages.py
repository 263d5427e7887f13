"""Servers that go away while a session works: it waits, goes on, and nothing is lost or doubled."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from lalafo_assets.demo.photo_host import PhotoHost
from ops.release import Release
from resources.ad_stream import AdStream
from resources.database import Database
from resources.embedded import EmbeddedBroker, EmbeddedPostgres
from resources.settings import Settings
from tests.integration.live import Live, ad, make_live
from tests.integration.working import Working
from tests.odd_photos import jpeg, noisy

ADS = 30


def publish(live: Live, first: int, last: int) -> None:
    url = live.photo("a.jpg", jpeg(noisy(80, 60, 1)))
    live.publish(*(ad(str(number), [url]) for number in range(first, last)))


def settings_for(tmp_path: Path, database: Database, exports: dict[str, str]) -> Settings:
    given = {name.removeprefix("LALAFO_").lower(): value for name, value in exports.items()}
    (tmp_path / "photos").mkdir()
    return Settings.model_validate(
        {
            **given,
            "home": tmp_path,
            "database_url": database.url.render_as_string(),
            "fetch_allow_private": True,
            "model_mode": "eager",
        }
    )


def check(live: Live, worker: Working) -> None:
    """Each ad is there once, and every event was counted once as an ad."""
    assert worker.error is None, worker.error
    assert worker.total is not None and worker.total.unaccounted == 0
    written = live.rows("SELECT count(*), count(DISTINCT ad_id) FROM lalafo.predictions")
    assert written == [(ADS, ADS)], f"{written} of {ADS} ads"


@pytest.mark.kafka
def test_the_broker_goes_and_comes_back(
    tmp_path: Path, database: Database, release: Release, kafka_server: KafkaServer
) -> None:
    """Kafka stopped and started again: the session polls on from where it was."""
    settings = settings_for(tmp_path, database, kafka_server.exports())
    with (
        PhotoHost(tmp_path / "photos") as host,
        AdStream.from_settings(settings) as stream,
    ):
        live = make_live(database, settings, stream, host, release)
        with Working(live) as worker:
            publish(live, 0, 10)
            worker.wait_for(10)
            kafka_server.stop()
            threading.Event().wait(3)
            kafka_server.restart()
            publish(live, 10, ADS)
            worker.wait_for(ADS)
        check(live, worker)


@pytest.fixture
def own_postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    """A server that a test may stop."""
    server = EmbeddedPostgres(home)
    server.start()
    yield server
    server.stop()


def test_postgresql_goes_and_comes_back(
    tmp_path: Path,
    own_postgres: EmbeddedPostgres,
    embedded_broker: EmbeddedBroker,
    release: Release,
) -> None:
    """PostgreSQL stopped while events come: they wait, and each is written once."""
    with closing(Database(own_postgres.url())) as database:
        database.migrate()
        exports = {**embedded_broker.exports(), "LALAFO_ADS_TOPIC": "ads-outage"}
        settings = settings_for(tmp_path, database, exports)
        with (
            PhotoHost(tmp_path / "photos") as host,
            AdStream.from_settings(settings) as stream,
        ):
            live = make_live(database, settings, stream, host, release)
            with Working(live) as worker:
                publish(live, 0, 10)
                worker.wait_for(10)
                own_postgres.stop()
                publish(live, 10, ADS)
                threading.Event().wait(2)
                own_postgres.start()
                worker.wait_for(ADS)
            check(live, worker)
