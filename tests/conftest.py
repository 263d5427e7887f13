"""Servers for the tests: each is started once per test session; each test gets names of its own.

`make test` runs three such sessions side by side (pytest-xdist): each has its own servers.

`postgres`, `database_url`       the embedded PostgreSQL, and a fresh database for one test
`home`                           a LALAFO_HOME where a test may start PostgreSQL itself
`embedded_broker`                librdkafka's test broker in its own process
`kafka_server`                   Apache Kafka itself (marked `kafka` where a test asks for it)
`broker`                         both of them, in turn, as a `BrokerUnderTest`
"""

import itertools
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
import structlog
from sqlalchemy.engine import make_url

from lalafo_assets.bench.kafka.server import KafkaServer, why_unavailable
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from resources.settings import Settings

_counter = itertools.count(1)


@dataclass(frozen=True, slots=True)
class BrokerUnderTest:
    """One broker, and topics that no other test uses."""

    name: str  # "embedded" or "kafka"
    environment: dict[str, str]  # the LALAFO_KAFKA_… exports

    def settings(self, **changes: object) -> Settings:
        """Settings for this broker; topic names are new at every call unless they are given."""
        topic = f"ads-{uuid.uuid4().hex[:12]}"
        fields = {k.removeprefix("LALAFO_").lower(): v for k, v in self.environment.items()}
        return Settings.model_validate(
            {**fields, "ads_topic": topic, "dlq_topic": f"{topic}.dlq", **changes}
        )


def pytest_configure() -> None:
    """Set up the process before any test.

    Restore SIGINT: a shell's background job ignores it, and child processes inherit that.

    Let OpenMP threads that wait for each other sleep, here and in child processes. By default they
    spin, and each small step of a model takes ten times as long beside other work on the cores.

    Hypothesis checks results only, and never how fast this machine runs its examples.
    """
    for name in ("COLUMNS", "LINES"):  # readline exports them to the second process: tables fold
        os.environ.pop(name, None)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `TUNING` has it
    # Other tests keep the cores busy, and what is idle then hardly runs.
    os.environ.setdefault("LALAFO_BACKGROUND_PRIORITY", "normal")
    hypothesis.settings.register_profile(
        "any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any speed")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Keep a file's tests in one process, and all files that start whole stacks in the same one."""
    from xdist.scheduler import LoadFileScheduling

    class FileByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "stacks" if starts_stacks(file) else file

    @cache
    def starts_stacks(file: str) -> bool:  # the scheduler collects nothing, so it knows no marks
        return "pytest.mark.stack" in (config.rootpath / file).read_text(encoding="utf-8")

    config.option.loadscopereorder = False
    return FileByFile(config, log)


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """Reset structlog after each test, because a session configures JSON lines."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def home() -> Iterator[Path]:
    """A LALAFO_HOME of the test's own, where PostgreSQL may be started.

    It is not below pytest's temporary directory: every pytest session makes that inaccessible to
    other users, and when the tests run as root, PostgreSQL runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="lalafo-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The test session's PostgreSQL. Without fsync: no test simulates a power failure."""
    with tempfile.TemporaryDirectory(prefix="lalafo-test-") as folder:  # as for `home`
        server = EmbeddedPostgres(
            Path(folder), overrides={"fsync": "off", "shared_buffers": "64MB"}
        )
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def make_database(postgres: EmbeddedPostgres) -> Callable[..., str]:
    """A function that creates a database from a template and returns its name."""

    def make(template: str = "lalafo", name: str | None = None) -> str:
        name = f"test_{os.getpid()}_{next(_counter)}" if name is None else name
        with psycopg.connect(**connect_args(postgres.url("postgres")), autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    return make


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, make_database: Callable[..., str]) -> Iterator[str]:
    """The SQLAlchemy URL (psycopg 3) of a fresh database with pgvector, dropped afterwards."""
    name = make_database()
    yield postgres.url(name)
    with psycopg.connect(**connect_args(postgres.url("postgres")), autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def connect_args(url: str) -> dict[str, str]:
    """Return psycopg's connection arguments for a SQLAlchemy URL."""
    parsed = make_url(url)
    return {
        "host": str(parsed.query["host"]),
        "port": str(parsed.port),
        "user": str(parsed.username),
        "dbname": str(parsed.database),
    }


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """The test session's embedded broker."""
    server = EmbeddedBroker(tmp_path_factory.mktemp("broker"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka_available() -> None:
    """If Apache Kafka is unavailable, skips the test, or fails it if required."""
    reason = why_unavailable()
    if reason is not None:
        if os.environ.get("LALAFO_REQUIRE_KAFKA") == "1":
            pytest.fail(f"LALAFO_REQUIRE_KAFKA=1, but {reason}")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka_server(
    kafka_available: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaServer]:
    """The test session's Apache Kafka."""
    server = KafkaServer(Path(tmp_path_factory.mktemp("kafka")))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> BrokerUnderTest:
    """Both brokers in turn; each is started on first use."""
    if request.param == "embedded":
        embedded: EmbeddedBroker = request.getfixturevalue("embedded_broker")
        return BrokerUnderTest("embedded", embedded.exports())
    kafka: KafkaServer = request.getfixturevalue("kafka_server")
    return BrokerUnderTest("kafka", kafka.exports())
