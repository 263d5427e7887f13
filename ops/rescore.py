"""The batch lane: bring stored rows to a release, as fast as the machine goes.

Decides how the stages overlap: while the model works on one chunk, threads read and decode the
next, and another writes the last. Memory is that of three chunks, however many rows there are.
Computes with the same functions as the stream, from the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ops.errors import BadInputError, StoredObjectError
from ops.outcomes import PhotoEmbedding
from ops.scoring import ReadyRelease

Image = NDArray[np.uint8]
T = TypeVar("T")


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


def embed_photos(
    chunks: Iterable[Sequence[P]],
    release: ReadyRelease,
    *,
    load: Callable[[P], Image],
    write: Callable[[Sequence[PhotoEmbedding]], None],
    progress: Callable[[EmbedReport], object],
    threads: int,
) -> EmbedReport:
    """Embed every photo under the release's backbone; what was done, all of it.

    Args:
        load: reads and prepares one photo; a BadInputError or StoredObjectError makes it
            unreadable, and the others go on. Any other error ends the work; what was written
            stays, and the next call takes up the rest.
        write: called by one thread, a chunk at a time, in order.
        progress: called after each chunk.
    """
    report = EmbedReport()
    with ThreadPoolExecutor(threads, "photo") as readers, ThreadPoolExecutor(1, "write") as writer:
        written: Future[None] | None = None
        for photos, images in _ahead(chunks, load, readers):
            good = [
                (photo, image)
                for photo, image in zip(photos, images, strict=True)
                if not isinstance(image, Unreadable)
            ]
            rows = release.embedder.embed([image for _, image in good])
            embeddings = [
                PhotoEmbedding(photo.sha256, release.backbone, release.name, row)
                for (photo, _), row in zip(good, rows, strict=True)
            ]
            if written is not None:
                written.result()
            written = writer.submit(write, embeddings)
            report.photos += len(photos)
            report.embedded += len(embeddings)
            report.unreadable += [
                (photo.sha256, image.why)
                for photo, image in zip(photos, images, strict=True)
                if isinstance(image, Unreadable)
            ]
            progress(report)
        if written is not None:
            written.result()
    return report


def _ahead(
    chunks: Iterable[Sequence[P]], load: Callable[[P], Image], readers: ThreadPoolExecutor
) -> Iterator[tuple[Sequence[P], list[Image | Unreadable]]]:
    """Each chunk with its images; the next one is being read while a chunk is worked on."""

    def attempt(photo: P) -> Image | Unreadable:
        try:
            return load(photo)
        except (BadInputError, StoredObjectError) as error:
            return Unreadable(str(error))

    pending: tuple[Sequence[P], list[Future[Image | Unreadable]]] | None = None
    for chunk in chain(chunks, [None]):
        following = None
        if chunk is not None:
            following = (chunk, [readers.submit(attempt, photo) for photo in chunk])
        if pending is not None:
            photos, futures = pending
            yield photos, [future.result() for future in futures]
        pending = following
