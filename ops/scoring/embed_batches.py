"""Batch embedding: embeds stored photos under a release with all cores of the machine.

Owns the threads: each of a few threads reads, decodes and embeds a batch of its own, and one more
thread writes. A network that runs on one thread loses no time on synchronisation, and reading,
decoding and embedding all release the GIL. Memory use is that of the batches in flight, however
many rows there are. Uses the same functions as the stream, on the same bytes.
"""

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ops.errors import BadInputError, StoredObjectError
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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stored photo that can't be read."""

    reason: str


@dataclass(slots=True)
class EmbedReport:
    """Counts of photos: `photos` = embedded + unreadable."""

    photos: int = 0
    embedded: int = 0
    unreadable: list[tuple[bytes, str]] = field(default_factory=list)  # (SHA-256, reason)


@dataclass(frozen=True, slots=True)
class _BatchResult:
    embeddings: list[PhotoEmbedding]
    unreadable: list[tuple[bytes, str]]


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
            as unreadable, and the others go on. Any other error ends the work; what was written
            stays, and the next call continues with the rest.
        write: called by one thread at a time, in the order of `photos`.
        progress: called after each write.
        threads: the number of batches that are read and decoded at once.
    """
    ready: queue.SimpleQueue[PhotoEmbedder] = queue.SimpleQueue()
    for embedder in embedders:
        ready.put(embedder)

    def embed_batch(batch: Sequence[P]) -> _BatchResult:
        loaded = [(photo, _attempt(load, photo)) for photo in batch]
        good = [(photo, image) for photo, image in loaded if not isinstance(image, Unreadable)]
        embedder = ready.get()
        try:
            rows = embedder.embed([image for _, image in good])
        finally:
            ready.put(embedder)
        return _BatchResult(
            [
                PhotoEmbedding(photo.sha256, release.backbone, release.name, row)
                for (photo, _), row in zip(good, rows, strict=True)
            ],
            [
                (photo.sha256, failure.reason)
                for photo, failure in loaded
                if isinstance(failure, Unreadable)
            ],
        )

    report = EmbedReport()
    with ThreadPoolExecutor(threads, "embed") as pool, ThreadPoolExecutor(1, "write") as writer:
        written: Future[None] | None = None
        for part in _merged(_in_order(pool, embed_batch, photos, threads * IN_FLIGHT)):
            if written is not None:
                written.result()
                progress(report)
            written = writer.submit(write, part.embeddings)
            report.embedded += len(part.embeddings)
            report.unreadable += part.unreadable
            report.photos = report.embedded + len(report.unreadable)
        if written is not None:
            written.result()
            progress(report)
    return report


def _attempt(load: Callable[[P], Image], photo: P) -> Image | Unreadable:
    try:
        return load(photo)
    except (BadInputError, StoredObjectError) as error:
        return Unreadable(str(error))


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
    chunk = _BatchResult([], [])
    for part in parts:
        chunk.embeddings.extend(part.embeddings)
        chunk.unreadable.extend(part.unreadable)
        if len(chunk.embeddings) >= WRITE_ROWS:
            yield chunk
            chunk = _BatchResult([], [])
    if chunk.embeddings or chunk.unreadable:
        yield chunk
