"""Batch embedding: each photo once, in order, also with unreadable photos and outages."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from ops.errors import CircuitOpenError, RetryableError, StoredObjectError
from ops.isolation import FAILURES_IN_A_ROW
from ops.models.release import Preprocessing
from ops.outcomes import PhotoEmbedding
from ops.scoring.embed_batches import BATCH, IN_FLIGHT, EmbedReport, embed_photos
from ops.scoring.ready_release import ReadyRelease

POISON = 255


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


class Poisoned(Backbone):
    """Raises an error for every batch with a poisoned photo."""

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        if any(image[0, 0, 0] == POISON for image in images):
            raise ZeroDivisionError("poison")
        return super().embed(images)


def run(
    count: int, *, load=None, write=None, backbone=Backbone, embedders: int = 2, threads: int = 3
):
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
        embedders=[backbone() for _ in range(embedders)],
        load=plain if load is None else lambda photo: load(photo, plain),
        write=written.extend if write is None else lambda rows: write(rows, written),
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


def poisoned_image(photo: Photo, plain):
    return np.full((1, 1, 3), POISON, np.uint8) if photo.number == 77 else plain(photo)


def poisoned_load(photo: Photo, plain):
    if photo.number == 77:
        raise ZeroDivisionError("poison")
    return plain(photo)


def poisoned_write(rows: Sequence[PhotoEmbedding], written: list[PhotoEmbedding]) -> None:
    if any(row.sha256 == Photo(77).sha256 for row in rows):
        raise ZeroDivisionError("poison")
    written.extend(rows)


@pytest.mark.parametrize(
    "poisoned",
    [
        {"load": poisoned_load},
        {"load": poisoned_image, "backbone": Poisoned},
        {"write": poisoned_write},
    ],
    ids=["load", "embed", "write"],
)
def test_an_exception_for_one_photo_fails_that_photo_alone(poisoned) -> None:
    """Its type and place are reported, without its message; all others are written in order."""
    report, written, _ = run(1_000, **poisoned)
    numbers = [int.from_bytes(item.sha256) for item in written]
    assert numbers == [number for number in range(1_000) if number != 77]
    ((sha256, why),) = report.failed
    assert sha256 == Photo(77).sha256
    assert why.startswith("internal_error: ZeroDivisionError in tests.unit.ops.scoring")
    assert (report.photos, report.embedded, report.unreadable) == (1_000, 999, [])


def test_an_exception_for_every_photo_ends_the_work() -> None:
    """The photos are hardly at fault: not all of a day becomes failures."""
    calls = []

    def load(photo: Photo, plain):
        calls.append(photo)
        raise ZeroDivisionError("poison")

    with pytest.raises(CircuitOpenError, match="ZeroDivisionError"):
        run(5_000, load=load)
    assert len(set(calls)) <= FAILURES_IN_A_ROW + 3 * BATCH * IN_FLIGHT


def test_some_failures_among_many_do_not_end_the_work() -> None:
    """However many there are, as long as others pass in between."""

    def load(photo: Photo, plain):
        if photo.number % 2:
            raise ZeroDivisionError("poison")
        return plain(photo)

    report, _, _ = run(500, load=load)
    assert (report.embedded, len(report.failed)) == (250, 250)
