"""One worker's share of a re-score: read, predict and write parts of days, chunk by chunk.

Does not depend on other workers. Each chunk is written in one transaction, so a worker that ends
between two chunks or within one leaves only correct rows.
"""

import threading
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass

from ops.models.release import Head
from ops.scoring.rate_limit import RateLimiter
from ops.tasks import Task
from resources.catalogue.stale_ads import Part, StaleQuery, read_stale
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


def score_parts(
    database: Database, share: ScoringJob, parts: Iterable[Part], stop: threading.Event
) -> Generator[Chunk, None, None]:
    """Score parts of days, a chunk at each step, until there are no more or `stop` is set."""
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
                answers = share.task.answers(
                    stale.vectors, stale.owner, len(stale.keys), share.head
                )
                rows = encode(share.target, stale.keys, answers)
                yield Chunk(write(database, share.target, rows), len(stale.owner))
