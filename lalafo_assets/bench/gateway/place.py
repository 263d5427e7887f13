"""Starts the servers of `lalafo bench gateway`: PostgreSQL, Apache Kafka and the gateway process.

PostgreSQL flushes every commit to disk, and the gateway requires API keys, both as in production.
No session runs here; the parts that need one use the stack of `bench/harness/place.py`.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from lalafo_assets.bench.kafka.server import KafkaServer, version, why_unavailable
from ops.errors import ConfigurationError, LalafoError
from resources.embedded.postgres import EmbeddedPostgres
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import Settings, changed_settings

START_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0
_POLL_S = 0.002
_DURABLE_SETTINGS = {"fsync": "on", "synchronous_commit": "on"}


@dataclass(frozen=True, slots=True)
class Servers:
    """The running servers that a gateway needs."""

    home: Path
    environment: dict[str, str]  # for a process that uses them
    settings: Settings
    database: Database
    broker: str  # its name, version and size, for the JSON line


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway process that answers requests."""

    url: str
    pid: int
    start_s: float  # from the start of the process to the first 200 of /healthz

    @property
    def rss_mb(self) -> float:
        """Resident memory now."""
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20


@contextmanager
def open_servers(home: Path, on_progress: Callable[[str], object]) -> Iterator[Servers]:
    """Start PostgreSQL, migrated and empty, and Apache Kafka with the topics.

    Raises:
        ConfigurationError: Apache Kafka can't run here.
    """
    missing = why_unavailable()
    if missing is not None:
        raise ConfigurationError(missing)
    with ExitStack() as stack:
        on_progress("starting PostgreSQL")
        postgres = EmbeddedPostgres(home)
        stack.callback(postgres.stop)
        postgres.start()
        on_progress("starting Apache Kafka")
        kafka = KafkaServer(home / "kafka", partitions=1)
        stack.callback(kafka.stop)
        kafka.start()
        topic = f"bench-{uuid.uuid4().hex[:8]}"
        environment = {
            "LALAFO_HOME": str(home),
            "LALAFO_STORE_URL": str(home / "store"),  # never the caller's own store
            "LALAFO_ADS_TOPIC": topic,
            "LALAFO_DLQ_TOPIC": f"{topic}.dlq",
            "LALAFO_STREAM_ID": "",
            "LALAFO_KAFKA_API_VERSION": "",
            **postgres.exports(),
            **kafka.exports(),
        }
        settings = settings_of(environment)
        database = stack.enter_context(closing(Database(postgres.url())))
        database.migrate()
        check_durability(database)
        with AdStream.from_settings(settings) as stream:
            stream.ensure_topics(1)
        yield Servers(
            *(home, environment, settings, database), f"Apache Kafka {version()}, one node"
        )


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that a process with this environment would have."""
    names = {name.removeprefix("LALAFO_").lower(): value for name, value in environment.items()}
    return changed_settings({name: v for name, v in names.items() if name in Settings.model_fields})


def check_durability(database: Database) -> None:
    """Raise LalafoError if PostgreSQL may confirm a commit before it is on disk."""
    with database.cursor() as cursor:
        for name, expected in _DURABLE_SETTINGS.items():
            cursor.execute(f"SHOW {name}")
            (value,) = cursor.fetchall()[0]
            if value != expected:
                raise LalafoError(
                    f"PostgreSQL runs with {name}={value}: latencies would be too low; "
                    f"expected {name}={expected}"
                )


@contextmanager
def run_gateway(environment: Mapping[str, str], log_file: Path) -> Iterator[RunningGateway]:
    """Run `python -m gateway` on a free port with API keys required; stop it on exit.

    Raises:
        LalafoError: it ended, or did not answer within START_WITHIN_S.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "--host", "127.0.0.1", "--port", "0"],
            env={**os.environ, **environment, "LALAFO_GATEWAY_AUTH": "keys"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        _wait_until_healthy(url, process, log_file)
        yield RunningGateway(url, process.pid, time.perf_counter() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_until_healthy(url: str, process: "subprocess.Popen[str]", log_file: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and url != "" and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):  # noqa: S310 - on loopback
                return
        except urllib.error.HTTPError as error:
            raise LalafoError(f"the gateway's /healthz answers {error.code}") from error
        except OSError:
            time.sleep(_POLL_S)
    last = "\n".join(log_file.read_text(errors="replace").splitlines()[-5:])
    raise LalafoError(f"the gateway does not answer at {url or 'any address'}: {last}")
