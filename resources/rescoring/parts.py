"""One worker's share of a re-score: read, predict and write parts of days, chunk by chunk.

Does not depend on other workers. Each chunk is written in one transaction, so a worker that ends
between two chunks or within one leaves only correct rows. An ad that raises an exception fails by
itself (`ops/isolation.py`) and stays stale.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np

from ops.isolation import ItemFaults, batch_faults, divided
from ops.models.release import AnyHead
from ops.outcomes import PhotoAnswer
from ops.scoring.photo_answers import answer_photos
from ops.scoring.predictions import AdInput, from_inputs
from ops.scoring.rate_limit import RateLimiter
from ops.tasks import Answers, Scope, Task
from ops.tasks.contract.arrays import as_arrays
from ops.types import Failure, Prediction
from resources.catalogue.inputs import InputReader, Unreadable, photos_a_chunk
from resources.catalogue.stale_ads import Part, StaleAds, StaleQuery, read_stale
from resources.postgres.database import Database
from resources.releases.photo_answers import insert_photo_answers
from resources.rescoring.failures import Failed, record_failures
from resources.rescoring.prediction_writer import Target, encode, write
from resources.storage.photos import PhotoStore


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """The work of one worker on each part."""

    query: StaleQuery
    target: Target
    task: Task
    head: AnyHead
    photos_a_chunk: int
    rows_per_s: float  # embeddings; 0: no limit
    store_url: str | None = None  # of the photos, for a task that reads pixels


@dataclass(frozen=True, slots=True)
class Chunk:
    """The result of a chunk."""

    ads: int  # whose prediction was written
    photos: int  # whose vectors were read
    failed: int = 0  # ads, with an exception that nobody expects


def score_parts(
    database: Database, share: ScoringJob, parts: Iterable[Part], stop: threading.Event
) -> Generator[Chunk, None, None]:
    """Score parts of days, a chunk at each step, until there are no more or `stop` is set.

    Raises:
        CircuitOpenError: many different ads in a row failed, and none passed.
    """
    faults = batch_faults()
    limiter = RateLimiter(share.rows_per_s, sleep=stop.wait)
    photos = limiter.chunk_size(photos_a_chunk(share.task.inputs, share.photos_a_chunk))
    reader = None
    if share.task.predict is None:
        reader = InputReader(
            *(database,), task=share.task, release=share.target.release, store=_photo_store(share)
        )
    for part in parts:
        if stop.is_set():
            return
        found = read_stale(database, share.query, part, photos_a_chunk=photos)
        with closing(found):
            for stale in found:
                limiter.wait(len(stale.owner))
                if stop.is_set():
                    return
                yield _score(database, share, reader, stale, faults)


def _photo_store(share: ScoringJob) -> PhotoStore | None:
    if share.store_url is None or not share.task.inputs.views:
        return None
    import torch

    torch.set_num_threads(1)  # workers are processes, one for each core
    return PhotoStore(share.store_url)


def _score(
    database: Database,
    share: ScoringJob,
    reader: InputReader | None,
    stale: StaleAds,
    faults: ItemFaults,
) -> Chunk:
    failed: dict[int, Failure] = {}
    of_photos: dict[Failed, Failure] = {}

    def fail(ad: int, error: BaseException) -> list[int]:
        failed[ad] = faults.failure("score", stale.keys[ad], error)
        return []

    if reader is None:
        predict = _from_vectors(share, stale)
    else:
        inputs = reader.read(stale)
        if share.task.scope is Scope.PHOTO:
            of_photos = _answer_photos(database, share, stale, inputs, faults)
        passed = partial(faults.passed, "score")
        predict = _from_inputs(share, inputs, fail=fail, passed=passed)

    def score(ads: Sequence[int]) -> list[int]:
        """The number of predictions written for consecutive ads."""
        first, end = ads[0], ads[-1] + 1
        encoded = encode(share.target, stale.keys[first:end], predict(first, end))
        written = write(database, share.target, encoded)
        faults.passed("score")
        return [written]

    written = sum(divided(range(len(stale.keys)), score, fail))
    of_ads = {(stale.keys[ad], b""): failure for ad, failure in failed.items()}
    if failed or of_photos:
        record_failures(database, share.target, {**of_ads, **of_photos})
    return Chunk(written, len(stale.owner), len(failed))


def _answer_photos(
    database: Database,
    share: ScoringJob,
    stale: StaleAds,
    inputs: Sequence[AdInput | Unreadable | None],
    faults: ItemFaults,
) -> dict[Failed, Failure]:
    """Answer the photos of some ads, and store the answers; the failures, by ad and photo."""
    name, release = share.task.name, share.target.release
    ads = [(i, item) for i, item in enumerate(inputs) if isinstance(item, AdInput)]
    errors: list[BaseException] = []
    made = answer_photos(
        *(share.task, share.head, [photo for _, ad in ads for photo in ad.of_photos]),
        lambda _, error: errors.append(error),
    )
    raised = iter(errors)
    for photo in made:
        if photo.failure(name) is not None:
            faults.failure("photos", photo.sha256, next(raised))
        else:
            faults.passed("photos")
    answers = [
        PhotoAnswer(release, photo.sha256, answer)
        for photo in made
        if isinstance(answer := photo.result(name), Prediction)
    ]
    if answers:
        with database.cursor() as cursor:
            insert_photo_answers(cursor, answers, share.target.run_id)
    return {
        (stale.keys[index], photo.sha256): failure
        for index, ad in ads
        for photo in ad.of_photos
        if (failure := photo.failure(name)) is not None
    }


def _from_vectors(share: ScoringJob, stale: StaleAds) -> Callable[[int, int], Answers]:
    """The predictions of consecutive ads, of a task that reads embeddings alone."""

    def predict(first: int, end: int) -> Answers:
        rows = slice(*np.searchsorted(stale.owner, (first, end)).tolist())
        return share.task.answers(
            stale.vectors[rows], stale.owner[rows] - first, end - first, share.head
        )

    return predict


def _from_inputs(
    share: ScoringJob,
    inputs: Sequence[AdInput | Unreadable | None],
    *,
    fail: Callable[[int, BaseException], object],
    passed: Callable[[], object],
) -> Callable[[int, int], Answers]:
    """The predictions of consecutive ads, of a task that reads whatever it declares."""
    for index, item in enumerate(inputs):
        if isinstance(item, BaseException):
            fail(index, item)
    there = [index for index, item in enumerate(inputs) if isinstance(item, AdInput)]
    ads = [item for item in inputs if isinstance(item, AdInput)]
    raised: list[BaseException] = []
    results = from_inputs(
        share.task, share.head, ads, [ad.answers for ad in ads], lambda _, it: raised.append(it)
    )
    predictions: list[Prediction | None] = [None] * len(inputs)
    errors = iter(raised)
    for index, result in zip(there, results, strict=True):
        if isinstance(result, Failure):
            fail(index, next(errors))
        else:
            predictions[index] = result
            passed()
    return lambda first, end: as_arrays(predictions[first:end])
