"""Batch embedding: embeds stored photos under a release with all cores of the machine.

Owns the threads: each of a few threads reads, decodes and embeds a batch of its own, and one more
thread writes. A network that runs on one thread loses no time on synchronisation, and reading,
decoding and embedding all release the GIL. Memory use is that of the batches in flight, however
many rows there are. Uses the same functions as the stream, on the same bytes.

A photo that raises an exception fails by itself (`ops/isolation.py`).
"""

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ops.errors import BadInputError, StoredObjectError
from ops.isolation import batch_faults, divided, is_of_item
from ops.outcomes import PhotoEmbedding
from ops.scoring.ready_release import PhotoEmbedder, ReadyRelease

BATCH = 32
WRITE_ROWS = 512
IN_FLIGHT = 2  # batches for each thread

Image = NDArray[np.uint8]


class Photo(Protocol):
    """A stored photo, by the digests of its source and of its rendition."""

    @property
    def sha256(self) -> bytes: ...

    @property
    def rendition_sha256(self) -> bytes: ...


P = TypeVar("P", bound=Photo)


Without = tuple[bytes, str]
"""The SHA-256 of a photo without an embedding, and why."""


@dataclass(slots=True)
class EmbedReport:
    """Counts of photos: `photos` = embedded + unreadable + failed."""

    photos: int = 0
    embedded: int = 0
    unreadable: list[Without] = field(default_factory=list)
    failed: list[Without] = field(default_factory=list)  # with an exception that nobody expects


@dataclass(slots=True)
class _BatchResult:
    embeddings: list[PhotoEmbedding] = field(default_factory=list)
    unreadable: list[Without] = field(default_factory=list)
    failed: list[Without] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.embeddings) + len(self.unreadable) + len(self.failed)


def embed_photos(
    photos: Iterable[P],
    release: ReadyRelease,
    *,
    embedders: Sequence[PhotoEmbedder],
    load: Callable[[P], Image],
    write: Callable[[Sequence[PhotoEmbedding]], None],
    progress: Callable[[EmbedReport], object],
    threads: int,
) -> EmbedReport:
    """Embed every photo under the release's backbone; returns the final counts.

    Args:
        embedders: embedders of that backbone; each embeds one batch at a time. On a CPU one for
            each core, with one thread each; on a GPU one.
        load: reads and prepares one photo. A BadInputError or StoredObjectError marks the photo
            as unreadable, and the others go on.
        write: called by one thread at a time, in the order of `photos`; all or nothing, and again
            with some of them if it raises.
        progress: called after each write.
        threads: the number of batches that are read and decoded at once.

    Raises:
        CircuitOpenError: many different photos in a row failed, and none passed.
        RetryableError: as raised by `load` or `write`. What was written stays, and the next call
            continues with the rest.
    """
    work = _Embedding(release, embedders, load, write)
    report = EmbedReport()

    def count(part: _BatchResult) -> None:
        report.embedded += len(part.embeddings)
        report.unreadable += part.unreadable
        report.failed += part.failed
        report.photos += len(part)
        progress(report)

    with ThreadPoolExecutor(threads, "embed") as pool, ThreadPoolExecutor(1, "write") as writer:
        written: Future[_BatchResult] | None = None
        for part in _merged(_in_order(pool, work.embed, photos, threads * IN_FLIGHT)):
            if written is not None:
                count(written.result())
            written = writer.submit(work.write, part)
        if written is not None:
            count(written.result())
    return report


class _Embedding(Generic[P]):
    """Embeds and writes batches; each photo that raises an exception fails by itself."""

    def __init__(
        self,
        release: ReadyRelease,
        embedders: Sequence[PhotoEmbedder],
        load: Callable[[P], Image],
        write: Callable[[Sequence[PhotoEmbedding]], None],
    ) -> None:
        self._release = release
        self._ready: queue.SimpleQueue[PhotoEmbedder] = queue.SimpleQueue()
        for embedder in embedders:
            self._ready.put(embedder)
        self._load = load
        self._write = write
        self._faults = batch_faults()

    def embed(self, batch: Sequence[P]) -> _BatchResult:
        """Load and embed a batch."""
        result = _BatchResult()
        good = [loaded for photo in batch for loaded in self._loaded(photo, result)]
        if not good:
            return result
        embedder = self._ready.get()

        def embed(some: Sequence[tuple[P, Image]]) -> list[PhotoEmbedding]:
            rows = embedder.embed([image for _, image in some])
            self._faults.passed("embed")
            return [
                PhotoEmbedding(photo.sha256, self._release.backbone, self._release.name, row)
                for (photo, _), row in zip(some, rows, strict=True)
            ]

        def fail(item: tuple[P, Image], error: BaseException) -> tuple[()]:
            return self._fail("embed", item[0].sha256, result, error)

        try:
            result.embeddings = divided(good, embed, fail)
        finally:
            self._ready.put(embedder)
        return result

    def write(self, part: _BatchResult) -> _BatchResult:
        """Write the embeddings of a part, and return it without those that can't be written."""

        def write(some: Sequence[PhotoEmbedding]) -> Sequence[PhotoEmbedding]:
            self._write(some)
            self._faults.passed("write")
            return some

        def fail(item: PhotoEmbedding, error: BaseException) -> tuple[()]:
            return self._fail("write", item.sha256, part, error)

        if part.embeddings:
            part.embeddings = divided(part.embeddings, write, fail)
        return part

    def _loaded(self, photo: P, result: _BatchResult) -> list[tuple[P, Image]]:
        """The photo with its image; [] if it can't be loaded."""

        def load(some: Sequence[P]) -> list[tuple[P, Image]]:
            loaded = [(one, self._load(one)) for one in some]
            self._faults.passed("load")
            return loaded

        def fail(photo: P, error: BaseException) -> tuple[()]:
            return self._fail("load", photo.sha256, result, error)

        try:
            return divided([photo], load, fail, is_fault=_is_unexpected)
        except (BadInputError, StoredObjectError) as error:
            result.unreadable.append((photo.sha256, str(error)))
            return []

    def _fail(
        self, stage: str, sha256: bytes, result: _BatchResult, error: BaseException
    ) -> tuple[()]:
        failure = self._faults.failure(stage, sha256, error)
        result.failed.append((sha256, f"{failure.reason}: {failure.detail}"))
        return ()


def _is_unexpected(error: BaseException) -> bool:
    return is_of_item(error) and not isinstance(error, BadInputError | StoredObjectError)


def _in_order(
    pool: ThreadPoolExecutor,
    embed_batch: Callable[[Sequence[P]], _BatchResult],
    photos: Iterable[P],
    max_batches: int,
) -> Iterator[_BatchResult]:
    """The result of each batch, in order; at most `max_batches` are in flight."""
    in_flight: deque[Future[_BatchResult]] = deque()
    rest = iter(photos)
    while batch := list(islice(rest, BATCH)):
        in_flight.append(pool.submit(embed_batch, batch))
        if len(in_flight) >= max_batches:
            yield in_flight.popleft().result()
    while in_flight:
        yield in_flight.popleft().result()


def _merged(parts: Iterable[_BatchResult]) -> Iterator[_BatchResult]:
    """Merge results into chunks that are large enough for one transaction."""
    chunk = _BatchResult()
    for part in parts:
        chunk.embeddings.extend(part.embeddings)
        chunk.unreadable.extend(part.unreadable)
        chunk.failed.extend(part.failed)
        if len(chunk.embeddings) >= WRITE_ROWS:
            yield chunk
            chunk = _BatchResult()
    if len(chunk):
        yield chunk
