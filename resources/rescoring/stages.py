"""The batch lane's stages over whole days: what is stale of them, through the model, into rows.

Decides how the work is shared and ended; what is stale is `catalogue.py`'s and `stale_ads.py`'s,
how it is written `prediction_chunks.py`'s, the work itself `ops/scoring/embed_batches.py`'s and
the tasks'. Knows neither Dagster nor why the days were chosen.
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
from ops.tasks import Task
from resources.catalogue.stale_ads import Part, StaleQuery
from resources.catalogue.stale_photos import Catalogue, StoredPhoto
from resources.releases.registry import find_release, partition_name
from resources.rescoring.parts import Assignment, Chunk, score_parts
from resources.rescoring.prediction_writer import Target
from resources.rescoring.worker import Worker
from resources.storage.photos import PhotoStore

PHOTO_CHUNK = 512
SCORE_CHUNK = 4_000
"""Embeddings a transaction: 20 MB of memory a worker, some 20 ms of PostgreSQL."""

MAX_WORKERS = 8
"""Each keeps two connections, and PostgreSQL needs cores too."""

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
    """Embed the days' photos that have no vector under the release's backbone."""
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
    """How a re-score goes about it."""

    rows_per_s: float = 0.0  # embeddings; 0: as fast as it goes
    workers: int | None = None  # processes; None: one a core
    worth_workers_ads: int = 50_000  # days with fewer ads are scored by this process
    chunk: int = SCORE_CHUNK  # photos a transaction; less where `rows_per_s` is


@dataclass(frozen=True, slots=True)
class ScoreProgress:
    """How far a re-score is."""

    ads: int  # whose prediction was written
    photos: int  # whose vectors were read
    seconds: float


def score_days(
    catalogue: Catalogue,
    release: ReadyRelease,
    task: Task,
    covered: Sequence[date],
    *,
    on_progress: Callable[[str], object],
    progress: Callable[[ScoreProgress], object] | None = None,
    options: ScoreOptions = ScoreOptions(),
) -> int:
    """Score the days' stale ads in one task; how many predictions were written.

    Again it writes what is stale then: what was committed stays, however the last call ended. An
    error of `on_progress` or `progress`, or Ctrl-C, ends it once the chunks under way are written.

    Args:
        told: a line at most every two seconds.
        progress: called after each chunk, by this thread.

    Raises:
        ConfigurationError: stored embeddings are not the backbone's.
        RetryableError: PostgreSQL is away.
    """
    if task.name not in release.heads:
        return 0
    started, ads, photos = time.monotonic(), 0, 0
    line = _Lines(on_progress)
    with closing(_Run(catalogue, release, task, covered, options).chunks()) as chunks:
        for chunk in chunks:
            ads, photos = ads + chunk.ads, photos + chunk.photos
            state = ScoreProgress(ads, photos, time.monotonic() - started)
            if progress is not None:
                progress(state)
            line.tell(state)
    return ads


def default_workers() -> int:
    """One a core that this process may use, up to a bound."""
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)))


class _Lines:
    """What people are told, and not too often."""

    def __init__(self, on_progress: Callable[[str], object]) -> None:
        self._told, self._next_s = on_progress, PROGRESS_EVERY_S

    def tell(self, state: ScoreProgress) -> None:
        if state.seconds >= self._next_s:
            self._next_s = state.seconds + PROGRESS_EVERY_S
            rate = state.photos / state.seconds
            self._told(f"{state.ads:,} ads scored so far, {rate:,.0f} embeddings a second")


class _Run:
    """A re-score of days by one task: shares, and whoever works at them."""

    def __init__(
        self,
        catalogue: Catalogue,
        release: ReadyRelease,
        task: Task,
        covered: Sequence[date],
        options: ScoreOptions,
    ) -> None:
        self.database = catalogue.database
        self.options = options
        head = release.heads[task.name]
        partition = partition_name(find_release(self.database, release.name).digest)
        self.covered = covered
        self.workers = self._workers()
        # Of few days each is shared: they would not come out even.
        split = self.workers if len(covered) < 4 * self.workers else 1
        self.parts = deque(Part(day, n, split) for day in covered for n in range(split))
        self.share = Assignment(
            query=StaleQuery(release.name, task.name, release.backbone, head.dimension),
            target=Target(release.name, partition, task.name, catalogue.run_id),
            task=task,
            head=head,
            photos_a_chunk=options.chunk,
            rows_per_s=options.rows_per_s / self.workers,
        )

    def chunks(self) -> Generator[Chunk, None, None]:
        """What was written, chunk by chunk; closing it ends the work between two of them.

        This process works as well, from the first moment: others take a second to start.
        """
        said: queue.SimpleQueue[Chunk | BaseException | None] = queue.SimpleQueue()
        with ExitStack() as stack:
            others = self.workers - 1
            for _ in range(others):
                worker = Worker(self.database, self.share)
                stack.callback(worker.stop)
                threading.Thread(target=self._relay, args=(worker, said), daemon=True).start()
            stack.callback(self.parts.clear)
            with closing(
                score_parts(self.database, self.share, self._next_parts(), threading.Event())
            ) as mine:
                for chunk in mine:
                    yield chunk
                    while not said.empty():
                        item = said.get()
                        others -= item is None
                        if item is not None:
                            yield _whole(item)
            while others:
                item = said.get()
                others -= item is None
                if item is not None:
                    yield _whole(item)

    def _next_parts(self) -> Iterator[Part]:
        """The parts that nobody has taken."""
        with contextlib.suppress(IndexError):
            while True:
                yield self.parts.popleft()

    def _relay(
        self, worker: Worker, said: "queue.SimpleQueue[Chunk | BaseException | None]"
    ) -> None:
        try:
            for chunk in worker.score(self._next_parts()):
                said.put(chunk)
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            said.put(error)
        else:
            said.put(None)

    def _workers(self) -> int:
        """As many as there are cores, or this process alone where starting others takes longer."""
        most = default_workers() if self.options.workers is None else self.options.workers
        if most == 1:
            return 1
        with self.database.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM (SELECT FROM lalafo.ads WHERE day = ANY(%s) LIMIT %s) AS a",
                (list(self.covered), self.options.worth_workers_ads),
            )
            (ads,) = cursor.fetchall()[0]
        return most if ads >= self.options.worth_workers_ads else 1


def _whole(item: Chunk | BaseException) -> Chunk:
    if isinstance(item, BaseException):
        raise item
    return item
