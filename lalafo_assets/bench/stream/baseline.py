"""The baseline of `lalafo bench stream`: a script that is as fast as possible for the same work.

It is one process. It consumes with librdkafka and keeps its own offsets. Threads fetch over
persistent connections, hash, make the rendition and decode it; others store it with fsync beside
the model. One thread embeds and predicts what is ready, in order. One thread commits rows and
offsets, all waiting ads in one transaction, once their photos are stored; it can also be run
without storing. It has no leases, epochs, revisions, failures, dead letters, active releases,
timings or Dagster; the difference between the session and the baseline is what those cost. It
stores, hashes, decodes and embeds with the session's functions.
"""

import gc
import http.client
import json
import os
import queue
import resource
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
from numpy.typing import NDArray

from lalafo_assets.bench.harness.workers import read_task, send_answer, wait_for_end
from ops.models.heads import class_probabilities
from ops.photos.rendition import make_rendition
from ops.types import Rendition
from resources.kafka.connection import StreamConfig
from resources.postgres.binary_copy import register_halfvec
from resources.postgres.database import Database
from resources.settings import load_settings
from resources.storage.photos import PhotoStore

TABLES = {
    "baseline_ads": "ad_id text PRIMARY KEY, revision bigint, kafka_at timestamptz, label text, "
    "score real",
    "baseline_photos": "ad_id text, position smallint, sha256 bytea, rendition bytea, "
    "width smallint, height smallint, embedding halfvec, PRIMARY KEY (ad_id, position)",
    "baseline_offsets": "partition int PRIMARY KEY, next_offset bigint",
}
ADS_IN_FLIGHT = 64
THREADS = 8  # they mostly wait for the photo host; 4 were slower
WRITERS = 8
BATCH_PHOTOS = 32
MAX_PIXELS = 50_000_000
POLL_S = 0.05

Loaded = tuple[Rendition, NDArray[np.uint8], "Future[None]"]
"""A photo's rendition, the model's input, and when the rendition is stored."""


@dataclass(slots=True)
class BaselineAd:
    """One ad in flight."""

    ad_id: str
    revision: int
    partition: int
    offset: int
    kafka_at_ms: int
    loading: list["Future[Loaded]"]
    photos: list[Loaded] = field(default_factory=list)
    vectors: NDArray[np.float16] | None = None
    label: str = ""
    score: float = 0.0


class KeptConnections:
    """GET over connections to one host, one for each thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    def get(self, url: str) -> bytes:
        """Return the body; raises RuntimeError unless the status is 200."""
        parts = urlsplit(url)
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
            self._local.connection = connection
        connection.request("GET", parts.path)
        response = connection.getresponse()
        data: bytes = response.read()
        if response.status != 200:
            raise RuntimeError(f"{url}: status {response.status}, expected 200")
        return data


class Baseline:
    """Loads everything when it is created; `run` works until `ended` is set."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        from ops.models.embed import Embedder
        from resources.releases.active import read_active_releases
        from resources.storage.releases import ReleaseStore

        settings = load_settings()
        with closing(Database.from_settings(settings)) as database:
            live = read_active_releases(database).live
            conninfo = database.conninfo.text("lalafo-bench")
        release = ReleaseStore(settings.resolved_store_url).load(live.digest)
        self.head = release.linear_heads["category"]
        self.preprocessing = release.manifest.preprocessing
        mode = settings.model_mode
        self.embedder = Embedder(release.backbone, device="cpu", threads=1, mode=mode)
        self.embedder.warm_up()
        self.store = PhotoStore(task["store_url"]) if task["store"] else None
        self.writers = ThreadPoolExecutor(WRITERS, "write")
        self.connection = psycopg.connect(conninfo)
        register_halfvec(self.connection)
        self.connection.rollback()
        self.consumer = _consumer(task)
        self.connections = KeptConnections()
        self.slots = threading.Semaphore(ADS_IN_FLIGHT)
        self.read: queue.SimpleQueue[BaselineAd | None] = queue.SimpleQueue()
        self.scored: queue.SimpleQueue[list[BaselineAd] | None] = queue.SimpleQueue()
        self.done: list[tuple[str, int, int, float]] = []  # ad, photos, Kafka ms, commit s
        self.ended = threading.Event()

    def run(self) -> None:
        """Work until `ended` is set."""
        stages = [
            threading.Thread(target=_exit_on_error, args=(f,)) for f in (self._score, self._commit)
        ]
        for stage in stages:
            stage.start()
        with ThreadPoolExecutor(THREADS, "photo") as pool:
            while not self.ended.is_set():
                for message in self._poll():
                    self.slots.acquire()
                    self.read.put(self._begin(message, pool))
            self.read.put(None)
        for stage in stages:
            stage.join()
        self.writers.shutdown()
        self.consumer.close()
        self.connection.close()

    def _poll(self) -> Iterator[Any]:
        """The messages that have arrived; waits up to POLL_S for the first."""
        first = self.consumer.poll(POLL_S)
        if first is not None:
            for message in (first, *self.consumer.consume(BATCH_PHOTOS, 0)):
                if message.error() is not None:
                    raise RuntimeError(str(message.error()))
                yield message

    def _begin(self, message: Any, pool: ThreadPoolExecutor) -> BaselineAd:
        event = json.loads(message.value())
        loading = [pool.submit(self._load, photo["url"]) for photo in event["photos"]]
        return BaselineAd(
            *(event["ad_id"], event["revision"], message.partition(), message.offset()),
            *(message.timestamp()[1], loading),
        )

    def _load(self, url: str) -> Loaded:
        from ops.models.embed import prepare

        rendition = make_rendition(self.connections.get(url), max_pixels=MAX_PIXELS, verify=False)
        stored = self.writers.submit(self._put, rendition)
        return rendition, prepare(rendition.data, self.preprocessing), stored

    def _put(self, rendition: Rendition) -> None:
        if self.store is not None:
            self.store.put("renditions", rendition.sha256, rendition.data)

    def _score(self) -> None:
        waiting: deque[BaselineAd] = deque()
        while True:
            batch = self._next_batch(waiting)
            if batch is None:
                self.scored.put(None)
                return
            images = [image for ad in batch for _, image, _ in ad.photos]
            vectors = self.embedder.embed(images)
            probabilities = class_probabilities(vectors, self.head)
            start = 0
            for ad in batch:
                end = start + len(ad.photos)
                mean = probabilities[start:end].mean(axis=0)
                best = int(mean.argmax())
                ad.vectors, ad.label = vectors[start:end], self.head.labels[best]
                ad.score, start = float(mean[best]), end
            self.scored.put(batch)

    def _next_batch(self, waiting: "deque[BaselineAd]") -> list[BaselineAd] | None:
        """The oldest ad, once its photos are loaded, and the loaded ads after it, in order."""
        if not waiting:
            first = self.read.get()
            if first is None:
                return None
            waiting.append(first)
        batch: list[BaselineAd] = []
        photos = 0
        while waiting:
            ad = waiting[0]
            if batch and (
                photos + len(ad.loading) > BATCH_PHOTOS or not all(f.done() for f in ad.loading)
            ):
                break
            ad.photos = [future.result() for future in ad.loading]
            batch.append(waiting.popleft())
            photos += len(ad.photos)
            while not self.read.empty():
                more = self.read.get()
                if more is None:
                    self.read.put(None)
                    break
                waiting.append(more)
        return batch

    def _commit(self) -> None:
        """Commit all scored ads, each time in one transaction."""
        while (batch := self.scored.get()) is not None:
            ended = False
            while not self.scored.empty() and not ended:
                more = self.scored.get()
                ended = more is None
                batch += more if more is not None else []
            self._write(batch)
            at = time.time()
            self.done += [(ad.ad_id, len(ad.photos), ad.kafka_at_ms, at) for ad in batch]
            self.slots.release(len(batch))
            if ended:
                return

    def _write(self, ads: list[BaselineAd]) -> None:
        for ad in ads:
            for *_, stored in ad.photos:
                stored.result()
        with self.connection.cursor() as cursor:
            with cursor.copy("COPY baseline_ads FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["text", "int8", "timestamptz", "text", "float4"])
                for ad in ads:
                    kafka_at = datetime.fromtimestamp(ad.kafka_at_ms / 1000, UTC)
                    copy.write_row((ad.ad_id, ad.revision, kafka_at, ad.label, ad.score))
            with cursor.copy("COPY baseline_photos FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["text", "int2", "bytea", "bytea", "int2", "int2", "halfvec"])
                for ad in ads:
                    assert ad.vectors is not None
                    for position, ((rendition, *_), vector) in enumerate(
                        zip(ad.photos, ad.vectors, strict=True)
                    ):
                        digests = (rendition.photo_sha256, rendition.sha256)
                        size = (rendition.width, rendition.height)
                        copy.write_row((ad.ad_id, position, *digests, *size, vector))
            for partition, offset in {ad.partition: ad.offset + 1 for ad in ads}.items():
                cursor.execute(
                    "INSERT INTO baseline_offsets VALUES (%s, %s) ON CONFLICT (partition) "
                    "DO UPDATE SET next_offset = EXCLUDED.next_offset",
                    (partition, offset),
                )
        self.connection.commit()


def _exit_on_error(stage: Callable[[], None]) -> None:
    """End the process at the first error; the bench shows the last lines of its log."""
    try:
        stage()
    except BaseException:  # noqa: BLE001 - any error ends the process
        traceback.print_exc()
        os._exit(1)


def _consumer(task: Mapping[str, Any]) -> Any:
    from confluent_kafka import Consumer, TopicPartition

    config = StreamConfig.from_settings(load_settings())
    consumer = Consumer(
        {
            **config.librdkafka_options(),
            # librdkafka's test broker answers only after the whole wait.
            **({"fetch.wait.max.ms": 20} if config.answers_late else {}),
            "group.id": "baseline",  # librdkafka requires one; offsets are in PostgreSQL
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.min.bytes": 1,
        }
    )
    consumer.assign([TopicPartition(task["topic"], p, 0) for p in task["partitions"]])
    return consumer


def main() -> None:
    """Load, report readiness, work until the bench has seen every row, and report the times."""
    baseline = Baseline(read_task())
    gc.collect()
    gc.freeze()  # what is loaded stays: the collector need not look through it again
    send_answer({"ready": os.getpid()})
    threading.Thread(target=wait_for_end, args=(baseline.ended.set,), daemon=True).start()
    _exit_on_error(baseline.run)
    used = resource.getrusage(resource.RUSAGE_SELF)
    send_answer({"ads": baseline.done, "rss_mb": used.ru_maxrss / 1024})


if __name__ == "__main__":
    main()
