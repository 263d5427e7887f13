"""Starts everything that `lalafo bench stream` needs: Kafka, the stack, a release, topics, photos.

The broker is the one that LALAFO_KAFKA_BOOTSTRAP names, or an Apache Kafka that the bench starts,
or, only with `embedded`, librdkafka's test broker. The JSON line names it under `broker`.
"""

import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lalafo_assets.bench.harness.options import WARM_ADS, StreamBench
from lalafo_assets.bench.harness.photo_server import start_photo_server
from lalafo_assets.bench.harness.photos import bench_photos
from lalafo_assets.bench.harness.workers import Worker
from lalafo_assets.bench.kafka.server import KafkaServer, version, why_unavailable
from lalafo_assets.stack.environment import DAGSTER_DATABASE, DATABASE, external_kafka
from lalafo_assets.stack.supervisor import Stack
from ops.errors import ConfigurationError
from resources.kafka.connection import open_client
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import Settings, changed_settings, load_settings

PHOTOS_PER_WARM_AD = 2

_FSYNCS = 21

Progress = Callable[[str, int, int], object]
"""Called with a description, how much is done, and the total."""


@dataclass(frozen=True, slots=True)
class Broker:
    """The Kafka broker of a bench."""

    name: str
    environment: dict[str, str]  # for the stack; {} if the stack starts its own embedded broker
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """The running servers of a bench, and its photos."""

    home: Path
    stack: Stack
    settings: Settings
    database: Database
    stream: AdStream
    broker: Broker
    photo_server: Worker
    host: str  # the URL before a photo's name
    release: str
    names: list[str]  # of the photos of the measured ads
    warm_names: list[str]  # of the photos of the warm-ups


@contextmanager
def open_place(
    bench: StreamBench, home: Path, *, on_progress: Callable[[str], object], step: Progress
) -> Iterator[Place]:
    """Make the photos and start all servers; stop the servers on exit.

    Args:
        on_progress: called with what is being started.
        step: called with how many photos there are so far.
    """
    with ExitStack() as stack:
        broker = stack.enter_context(_broker(bench, home, on_progress))
        names = _make_photos(bench, home / "photos", step)
        server, host = start_photo_server(home / "photos", log_file=home / "logs" / "photos.log")
        stack.enter_context(server)
        topic = f"bench-{uuid.uuid4().hex[:8]}"
        if broker.environment:
            stack.enter_context(_topics(broker.environment, topic, bench.partition_count))
            for stores in (True, False):
                name = baseline_topic(topic, stores=stores)
                stack.enter_context(_topics(broker.environment, name, bench.partition_count))
        running = Stack(
            home / "stack",
            environment={
                **broker.environment,
                **bench.environment(),
                # Never the caller's own store or databases.
                DATABASE: "",
                DAGSTER_DATABASE: "",
                "LALAFO_STORE_URL": str(home / "stack" / "store"),
                "LALAFO_ADS_TOPIC": topic,
                "LALAFO_DLQ_TOPIC": f"{topic}.dlq",
            },
            on_progress=on_progress,
        )
        stack.enter_context(running)
        settings = load_settings()
        database = stack.enter_context(closing(Database.from_settings(settings)))
        release = _install_release(database, settings, all_tasks=bench.all_tasks)
        stream = stack.enter_context(AdStream.from_settings(settings))
        if not broker.environment:
            make_baseline_topics(settings)
        counted, warm = names[: bench.photo_count], names[bench.photo_count :]
        yield Place(
            *(home, running, settings, database, stream, broker, server, host, release),
            *(counted, warm),
        )


def make_baseline_topics(settings: Settings) -> None:
    """Create the baselines' topics on the broker of the stack, which ends with the stack."""
    for stores in (True, False):
        name = baseline_topic(settings.ads_topic, stores=stores)
        own = settings.model_copy(update={"ads_topic": name, "dlq_topic": f"{name}.dlq"})
        with AdStream.from_settings(own) as stream:
            stream.ensure_topics()


def baseline_topic(topic: str, *, stores: bool) -> str:
    """The name of the topic of the baseline, or of the one that does not store photos."""
    return f"{topic}.baseline" if stores else f"{topic}.baseline-unstored"


def fsync_ms(folder: Path) -> float:
    """The median time of a small write with fsync, in ms: every commit waits for one."""
    times_ms = []
    with (folder / "fsync-probe").open("wb", buffering=0) as file:
        for _ in range(_FSYNCS):
            started = time.perf_counter()
            file.write(b"x" * 8_192)
            os.fsync(file.fileno())
            times_ms.append((time.perf_counter() - started) * 1000)
    return statistics.median(times_ms)


def _make_photos(bench: StreamBench, folder: Path, step: Progress) -> list[str]:
    """Write the photos of the measured ads and of the warm-ups as files; returns their names."""
    folder.mkdir()
    count = bench.photo_count + 4 * WARM_ADS * PHOTOS_PER_WARM_AD
    names = []
    for index, data in enumerate(bench_photos(count, folder=bench.photos)):
        names.append(f"{index:06d}.jpg")
        (folder / names[-1]).write_bytes(data)
        step("making photos", index + 1, count)
    return names


@contextmanager
def _broker(
    bench: StreamBench, home: Path, on_progress: Callable[[str], object]
) -> Iterator[Broker]:
    external = external_kafka(os.environ)
    if external:
        yield Broker(f"Kafka at {external['LALAFO_KAFKA_BOOTSTRAP']}", external)
        return
    if bench.embedded:
        if bench.partition_count != 4:
            on_progress("the embedded broker always creates topics with 4 partitions")
        yield Broker("librdkafka's test broker (embedded): in memory, not Kafka", {})
        return
    on_progress("starting Apache Kafka")
    missing = why_unavailable()
    if missing is not None:
        raise ConfigurationError(
            f"{missing}. Install it, set LALAFO_KAFKA_BOOTSTRAP to a Kafka, or measure the "
            "test broker with --embedded."
        )
    server = KafkaServer(home / "kafka", partitions=bench.partition_count)
    server.start()
    try:
        yield Broker(f"Apache Kafka {version()}, one node", server.exports(), server.pid)
    finally:
        server.stop()


@contextmanager
def _topics(environment: dict[str, str], topic: str, partitions: int) -> Iterator[None]:
    """Create the bench's topic and the topics that belong to it, and delete them on exit.

    So a Kafka that others use is left as it was.
    """
    names = ("kafka_bootstrap", "kafka_api_version", "stream_id")
    fields: dict[str, object] = {
        name: environment.get(f"LALAFO_{name.upper()}", "") for name in names
    }
    fields |= {name.removeprefix("LALAFO_").lower(): value for name, value in environment.items()}
    fields |= {"ads_topic": topic, "dlq_topic": f"{topic}.dlq"}
    with AdStream.from_settings(changed_settings(fields)) as stream:
        stream.ensure_topics(partitions)
        config = stream.config
        yield
    from kafka import KafkaAdminClient

    admin = open_client(config, KafkaAdminClient)
    try:
        admin.delete_topics(
            [config.ads_topic, config.feedback_topic, config.scored_topic, config.dlq_topic]
        )
    finally:
        admin.close()


def _install_release(database: Database, settings: Settings, *, all_tasks: bool) -> str:
    from lalafo_assets.bench.all_tasks.release import with_all_tasks
    from lalafo_assets.starter import load_starter
    from resources.inference.loading import install
    from resources.releases.promotion import make_live
    from resources.storage.releases import ReleaseStore

    made = with_all_tasks(load_starter()) if all_tasks else load_starter()
    release = install(database, ReleaseStore(settings.resolved_store_url), made)
    make_live(database, release.name)
    return release.name
