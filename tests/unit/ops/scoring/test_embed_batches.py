"""Batch embedding: each photo once, in order, also with unreadable photos and outages."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from ops.errors import RetryableError, StoredObjectError
from ops.models.release import Preprocessing
from ops.outcomes import PhotoEmbedding
from ops.scoring.embed_batches import BATCH, IN_FLIGHT, EmbedReport, embed_photos
from ops.scoring.ready_release import ReadyRelease


@dataclass(frozen=True)
class Photo:
    number: int

    @property
    def sha256(self) -> bytes:
        return self.number.to_bytes(32)

    rendition_sha256 = sha256


class Backbone:
    """One dimension: the photo's number. Fails when two threads use it at once."""

    dimension = 1

    def __init__(self) -> None:
        self._busy = threading.Lock()

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        assert self._busy.acquire(blocking=False), "two threads in one embedder"
        try:
            return np.array([[image[0, 0, 0]] for image in images], np.float16).reshape(-1, 1)
        finally:
            self._busy.release()


def run(count: int, *, load=None, embedders: int = 2, threads: int = 3):
    """(report, embeddings in the order written, maximum of photos loaded and not yet written)."""
    written: list[PhotoEmbedding] = []
    loaded, max_pending = [0], [0]
    guard = threading.Lock()

    def plain(photo: Photo) -> np.ndarray:
        with guard:
            loaded[0] += 1
            max_pending[0] = max(max_pending[0], loaded[0] - len(written))
        return np.full((1, 1, 3), photo.number % 200, np.uint8)

    report = embed_photos(
        (Photo(number) for number in range(count)),
        ReadyRelease("r", "b", Preprocessing(), Backbone(), {}),
        embedders=[Backbone() for _ in range(embedders)],
        load=plain if load is None else lambda photo: load(photo, plain),
        write=written.extend,
        progress=lambda report: None,
        threads=threads,
    )
    return report, written, max_pending[0]


def test_each_photo_is_embedded_once_and_in_order() -> None:
    """Every vector belongs to its photo."""
    report, written, _ = run(2_500)
    assert [int.from_bytes(item.sha256) for item in written] == list(range(2_500))
    assert all(item.vector[0] == int.from_bytes(item.sha256) % 200 for item in written)
    assert (report.photos, report.embedded, report.unreadable) == (2_500, 2_500, [])


def test_without_photos_nothing_is_written() -> None:
    """The report has only zeros."""
    report, written, _ = run(0)
    assert written == []
    assert report == EmbedReport()


def test_an_unreadable_photo_is_reported_and_the_rest_is_embedded() -> None:
    """photos = embedded + unreadable."""

    def load(photo: Photo, plain):
        if photo.number % 50 == 7:
            raise StoredObjectError("missing")
        return plain(photo)

    report, written, _ = run(500, load=load)
    assert len(written) == 490
    assert len(report.unreadable) == 10
    assert report.photos == 500


def test_an_outage_ends_the_work_with_its_own_error() -> None:
    """What was written stays; the error is raised to the caller, and nothing hangs."""

    def load(photo: Photo, plain):
        if photo.number == 700:
            raise RetryableError("the store is unavailable")
        return plain(photo)

    with pytest.raises(RetryableError, match="the store is unavailable"):
        run(1_000, load=load)


def test_memory_does_not_grow_with_the_day() -> None:
    """However many photos there are, only some batches are read and not yet written."""
    _, _, max_pending = run(5_000, threads=2)
    assert max_pending <= BATCH * (2 * IN_FLIGHT + 2) + 2 * 512
