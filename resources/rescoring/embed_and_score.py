"""The batch stages over whole days: embed stale photos, and score stale ads with worker processes.

Owns the distribution of the work and its end. What is stale is defined in `resources/catalogue/`,
rows are written by `prediction_writer.py`, and the computation is in `ops/scoring/embed_batches.py`
and the tasks. Does not depend on Dagster, or on how the days were selected.
"""

import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import date
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ops.scoring.embed_batches import EmbedReport, embed_photos
from ops.scoring.ready_release import PhotoEmbedder, ReadyRelease
from ops.scoring.switched_off import NONE_OFF, SwitchedOff
from ops.tasks import Task
from resources.catalogue.stale_ads import Part, StaleQuery
from resources.catalogue.stale_photos import Catalogue, StoredPhoto
from resources.releases.registry import find_release, partition_name
from resources.rescoring.failures import delete_repaired
from resources.rescoring.parts import Chunk, ScoringJob, score_parts
from resources.rescoring.prediction_writer import Target, make_durable
from resources.rescoring.worker import Worker
from resources.storage.photos import PhotoStore

PHOTO_CHUNK = 512
SCORE_CHUNK = 4_000
"""Embeddings per transaction: 20 MB of memory per worker, some 20 ms in PostgreSQL."""

MAX_WORKERS = 8
"""Each worker has two connections, and PostgreSQL needs cores too."""

PROGRESS_EVERY_S = 2.0


def embed_days(
    catalogue: Catalogue,
    release: ReadyRelease,
    embedders: Sequence[PhotoEmbedder],
    store: PhotoStore,
    covered: Sequence[date],
    *,
    on_progress: Callable[[str], object],
) -> EmbedReport:
    """Embed the photos of the days that have no vector under the release's backbone."""
    from ops.models.embed import prepare

    def load(photo: StoredPhoto) -> NDArray[np.uint8]:
        return prepare(store.get("renditions", photo.rendition_sha256), release.preprocessing)

    stale = catalogue.photos_to_embed(covered, release.backbone, chunk=PHOTO_CHUNK)
    return embed_photos(
        chain.from_iterable(stale),
        release,
        embedders=embedders,
        load=load,
        write=catalogue.write_embeddings,
        progress=lambda report: on_progress(f"{report.embedded} of {report.photos} photos so far"),
        threads=len(os.sched_getaffinity(0)),
    )


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """Rate limit and parallelism of a re-score."""

    rows_per_s: float = 0.0  # embeddings; 0: no limit
    workers: int | None = None  # processes; None: one per core
    worth_workers_ads: int = 50_000  # with fewer ads in total, only this process scores
    chunk: int = SCORE_CHUNK  # photos per transaction; less if `rows_per_s` is less


@dataclass(frozen=True, slots=True)
class ScoreProgress:
    """The progress of a re-score."""

    ads: int  # whose prediction was written
    photos: int  # whose vectors were read
    seconds: float
    failed: int = 0  # ads, with an exception that nobody expects; they stay stale


def score_days(
    catalogue: Catalogue,
    release: ReadyRelease,
    task: Task,
    covered: Sequence[date],
    *,
    on_progress: Callable[[str], object],
    progress: Callable[[ScoreProgress], object] | None = None,
    options: ScoreOptions = ScoreOptions(),
    store_url: str | None = None,
    off: SwitchedOff = NONE_OFF,
) -> int:
    """Score the stale ads of the days in one task; return the number of predictions written.

    A repeated call scores what is still stale: committed chunks stay, however the last call ended.
    When it returns, all of them are on disk.
    An error of `on_progress` or `progress`, or Ctrl-C, ends it once the chunks in progress are
    written.

    Args:
        on_progress: called with a line of text, at most every two seconds.
        progress: called after each chunk, in this thread.
        store_url: of the store of photos, for a task that reads them.
        off: the ads of a catalog that the task is off in are left out.

    Raises:
        CircuitOpenError: many different ads in a row failed, and none passed.
        ConfigurationError: stored embeddings don't have the backbone's dimension.
        RetryableError: PostgreSQL is unavailable.
    """
    if task.name not in release.heads or off.everywhere(task.name):
        return 0
    started, ads, photos, failed = time.monotonic(), 0, 0, 0
    lines = _ProgressLines(on_progress)
    run = _Run(catalogue, release, task, covered, options, store_url, off)
    with closing(run.chunks()) as chunks:
        for chunk in chunks:
            ads, photos, failed = ads + chunk.ads, photos + chunk.photos, failed + chunk.failed
            state = ScoreProgress(ads, photos, time.monotonic() - started, failed)
            if progress is not None:
                progress(state)
            lines.report(state)
    delete_repaired(catalogue.database, release.name, task.name)
    if ads:
        make_durable(catalogue.database)
    return ads


def default_workers() -> int:
    """Return the number of cores that this process may use, MAX_WORKERS at most."""
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)))


class _ProgressLines:
    """Reports progress as text, at most every PROGRESS_EVERY_S."""

    def __init__(self, on_progress: Callable[[str], object]) -> None:
        self._on_progress, self._next_s = on_progress, PROGRESS_EVERY_S

    def report(self, state: ScoreProgress) -> None:
        if state.seconds >= self._next_s:
            self._next_s = state.seconds + PROGRESS_EVERY_S
            rate = state.photos / state.seconds
            self._on_progress(f"{state.ads:,} ads scored so far, {rate:,.0f} embeddings a second")


class _Run:
    """A re-score of days in one task: the queue of parts, and the workers that process it."""

    def __init__(
        self,
        catalogue: Catalogue,
        release: ReadyRelease,
        task: Task,
        covered: Sequence[date],
        options: ScoreOptions,
        store_url: str | None,
        off: SwitchedOff,
    ) -> None:
        self.database = catalogue.database
        self.options = options
        dimension = release.embedder.dimension if task.inputs.embedding else 0
        partition = partition_name(find_release(self.database, release.name).digest)
        self.covered = covered
        self.workers = self._workers()
        # With few days, each day is split: whole days would not distribute evenly.
        split = self.workers if len(covered) < 4 * self.workers else 1
        self.parts = deque(Part(day, n, split) for day in covered for n in range(split))
        self.share = ScoringJob(
            query=StaleQuery(
                *(release.name, task.name, release.backbone, dimension),
                without=tuple(off.catalogs(task.name)),
            ),
            target=Target(release.name, partition, task.name, catalogue.run_id),
            task=task,
            head=release.heads[task.name],
            photos_a_chunk=options.chunk,
            rows_per_s=options.rows_per_s / self.workers,
            store_url=store_url,
        )

    def chunks(self) -> Generator[Chunk, None, None]:
        """Yield each written chunk; closing the generator ends the work between two chunks.

        This process scores as well, from the start: workers take a second to start.
        """
        results: queue.SimpleQueue[Chunk | BaseException | None] = queue.SimpleQueue()
        with ExitStack() as stack:
            others = self.workers - 1
            for _ in range(others):
                worker = Worker(self.database, self.share)
                stack.callback(worker.stop)
                threading.Thread(target=self._relay, args=(worker, results), daemon=True).start()
            stack.callback(self.parts.clear)
            with closing(
                score_parts(self.database, self.share, self._next_parts(), threading.Event())
            ) as own_chunks:
                for chunk in own_chunks:
                    yield chunk
                    while not results.empty():
                        item = results.get()
                        others -= item is None
                        if item is not None:
                            yield _chunk_or_raise(item)
            while others:
                item = results.get()
                others -= item is None
                if item is not None:
                    yield _chunk_or_raise(item)

    def _next_parts(self) -> Iterator[Part]:
        """Take parts from the queue until it is empty."""
        with contextlib.suppress(IndexError):
            while True:
                yield self.parts.popleft()

    def _relay(
        self, worker: Worker, results: "queue.SimpleQueue[Chunk | BaseException | None]"
    ) -> None:
        try:
            for chunk in worker.score(self._next_parts()):
                results.put(chunk)
        except BaseException as error:  # noqa: BLE001 - `chunks` raises it again
            results.put(error)
        else:
            results.put(None)

    def _workers(self) -> int:
        """Return one per core, or 1 if there are too few ads to be worth starting processes."""
        limit = default_workers() if self.options.workers is None else self.options.workers
        if limit == 1:
            return 1
        with self.database.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM (SELECT FROM lalafo.ads WHERE day = ANY(%s) LIMIT %s) AS a",
                (list(self.covered), self.options.worth_workers_ads),
            )
            (ads,) = cursor.fetchall()[0]
        return limit if ads >= self.options.worth_workers_ads else 1


def _chunk_or_raise(item: Chunk | BaseException) -> Chunk:
    if isinstance(item, BaseException):
        raise item
    return item
