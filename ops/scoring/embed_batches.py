"""The batch lane: bring stored rows to a release, as fast as the machine goes.

Decides how the stages share the machine: each of a few threads reads, decodes and embeds a batch
of its own, and one more writes. A network on one thread wastes nothing on waiting for its own
threads, and reading, decoding and embedding all leave the interpreter's lock alone. Memory is that
of the batches in flight, however many rows there are. Computes with the same functions as the
stream, from the same bytes.
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
IN_FLIGHT = 2  # batches a thread

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
    """Why a stored photo can't be read."""

    why: str


@dataclass(slots=True)
class EmbedReport:
    """In = embedded + unreadable."""

    photos: int = 0
    embedded: int = 0
    unreadable: list[tuple[bytes, str]] = field(default_factory=list)  # (photo, why)


@dataclass(frozen=True, slots=True)
class _Done:
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
    """Embed every photo under the release's backbone; what was done, all of it.

    Args:
        embedders: of that backbone; so many batches are embedded at once. On a CPU one a core,
            each with one thread; on a GPU one.
        load: reads and prepares one photo; a BadInputError or StoredObjectError makes it
            unreadable, and the others go on. Any other error ends the work; what was written
            stays, and the next call takes up the rest.
        write: called by one thread at a time, in the order of `photos`.
        progress: called after each write.
        threads: how many batches are read and decoded at once.
    """
    ready: queue.SimpleQueue[PhotoEmbedder] = queue.SimpleQueue()
    for embedder in embedders:
        ready.put(embedder)

    def work(batch: Sequence[P]) -> _Done:
        loaded = [(photo, _attempt(load, photo)) for photo in batch]
        good = [(photo, image) for photo, image in loaded if not isinstance(image, Unreadable)]
        embedder = ready.get()
        try:
            rows = embedder.embed([image for _, image in good])
        finally:
            ready.put(embedder)
        return _Done(
            [
                PhotoEmbedding(photo.sha256, release.backbone, release.name, row)
                for (photo, _), row in zip(good, rows, strict=True)
            ],
            [(photo.sha256, why.why) for photo, why in loaded if isinstance(why, Unreadable)],
        )

    report = EmbedReport()
    with ThreadPoolExecutor(threads, "embed") as pool, ThreadPoolExecutor(1, "write") as writer:
        written: Future[None] | None = None
        for part in _gathered(_in_order(pool, work, photos, threads * IN_FLIGHT)):
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
    pool: ThreadPoolExecutor, work: Callable[[Sequence[P]], _Done], photos: Iterable[P], most: int
) -> Iterator[_Done]:
    """What became of each batch, in order; no more than `most` are begun and not handed on."""
    begun: deque[Future[_Done]] = deque()
    rest = iter(photos)
    while batch := list(islice(rest, BATCH)):
        begun.append(pool.submit(work, batch))
        if len(begun) >= most:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _gathered(parts: Iterable[_Done]) -> Iterator[_Done]:
    """The same in larger pieces, each worth a transaction."""
    waiting = _Done([], [])
    for part in parts:
        waiting.embeddings.extend(part.embeddings)
        waiting.unreadable.extend(part.unreadable)
        if len(waiting.embeddings) >= WRITE_ROWS:
            yield waiting
            waiting = _Done([], [])
    if waiting.embeddings or waiting.unreadable:
        yield waiting
