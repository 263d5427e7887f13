"""One worker's share of a re-score: read, predict and write parts of days, chunk by chunk.

Does not depend on other workers. Each chunk is written in one transaction, so a worker that ends
between two chunks or within one leaves only correct rows. An ad that raises an exception fails by
itself (`ops/isolation.py`) and stays stale.
"""

import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ops.isolation import ItemFaults, batch_faults, divided
from ops.models.release import Head
from ops.scoring.rate_limit import RateLimiter
from ops.tasks import Task
from ops.types import Failure
from resources.catalogue.stale_ads import Part, StaleAds, StaleQuery, read_stale
from resources.postgres.database import Database
from resources.rescoring.prediction_writer import Target, encode, write


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """The work of one worker on each part."""

    query: StaleQuery
    target: Target
    task: Task
    head: Head
    photos_a_chunk: int
    rows_per_s: float  # embeddings; 0: no limit


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
    photos = limiter.chunk_size(share.photos_a_chunk)
    for part in parts:
        if stop.is_set():
            return
        found = read_stale(database, share.query, part, photos_a_chunk=photos)
        with closing(found):
            for stale in found:
                limiter.wait(len(stale.owner))
                if stop.is_set():
                    return
                yield _score(database, share, stale, faults)


def _score(database: Database, share: ScoringJob, stale: StaleAds, faults: ItemFaults) -> Chunk:
    def score(ads: Sequence[int]) -> list[int]:
        """The number of predictions written for consecutive ads."""
        first, end = ads[0], ads[-1] + 1
        rows = slice(*np.searchsorted(stale.owner, (first, end)).tolist())
        answers = share.task.answers(
            stale.vectors[rows], stale.owner[rows] - first, len(ads), share.head
        )
        encoded = encode(share.target, stale.keys[first:end], answers)
        written = write(database, share.target, encoded)
        faults.passed("score")
        return [written]

    failed: list[Failure] = []

    def fail(ad: int, error: BaseException) -> list[int]:
        failed.append(faults.failure("score", stale.keys[ad], error))
        return []

    written = sum(divided(range(len(stale.keys)), score, fail))
    return Chunk(written, len(stale.owner), len(failed))
