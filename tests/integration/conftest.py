"""Fixtures: a migrated database per test (a copy of one that is migrated once), and a session."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from lalafo_assets.demo.photo_host import PhotoHost
from ops.models.release import Release
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from tests.conftest import BrokerUnderTest, connect_args
from tests.support.gateway_place import NewPlace, Place, open_place
from tests.support.live_session import Live, live_parts
from tests.support.random_release import random_release


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres, make_database: Callable[..., str]) -> str:
    """The name of a database at the latest schema revision, without rows."""
    name = make_database()
    database = Database(postgres.url(name))
    database.migrate()
    database.close()
    return name


@pytest.fixture
def database(
    postgres: EmbeddedPostgres, make_database: Callable[..., str], migrated_template: str
) -> Iterator[Database]:
    """A migrated database without rows, dropped afterwards."""
    name = make_database(template=migrated_template)
    database = Database(postgres.url(name))
    yield database
    database.close()
    with psycopg.connect(**connect_args(postgres.url("postgres")), autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def release() -> Release:
    """A real backbone with random weights."""
    return random_release()


@pytest.fixture
def live(
    database: Database, broker: BrokerUnderTest, release: Release, tmp_path: Path
) -> Iterator[Live]:
    """A session's parts on either broker, with a photo host on loopback."""
    (tmp_path / "photos").mkdir()
    settings = broker.settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        fetch_allow_private=True,
        fetch_timeout_s=5,
        model_mode="eager",
        torch_threads=2,
    )
    with (
        PhotoHost(tmp_path / "photos", drip_pause_s=0.2) as host,
        AdStream.from_settings(settings) as stream,
    ):
        yield live_parts(database, settings, stream, host, release)


@pytest.fixture(scope="session")
def secured(kafka_available: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The test session's Apache Kafka with TLS, log-in and ACLs: a `SecuredKafka`."""
    from tests.support.secured_kafka import secured_kafka  # cryptography takes a moment

    with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


@pytest.fixture(scope="module")
def new_place(
    postgres: EmbeddedPostgres,
    make_database: Callable[..., str],
    migrated_template: str,
    release: Release,
    tmp_path_factory: pytest.TempPathFactory,
) -> NewPlace:
    """Opens a gateway, and a session that scores the ads it accepts."""

    def new(broker: BrokerUnderTest) -> AbstractContextManager[Place]:
        home = tmp_path_factory.mktemp("place")
        database = make_database(template=migrated_template)
        return open_place(broker, postgres, database, home, release)

    return new


@pytest.fixture(scope="module")
def place(new_place: NewPlace, embedded_broker: EmbeddedBroker) -> Iterator[Place]:
    """A test module's gateway, on the embedded broker."""
    with new_place(BrokerUnderTest("embedded", embedded_broker.exports())) as place:
        yield place


@pytest.fixture(scope="module")
def kafka_place(new_place: NewPlace, kafka_server: KafkaServer) -> Iterator[Place]:
    """A test module's gateway, on Apache Kafka."""
    with new_place(BrokerUnderTest("kafka", kafka_server.exports())) as place:
        yield place
