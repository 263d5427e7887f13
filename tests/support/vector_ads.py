"""Ads with chosen vectors, committed as sessions do, and what an index of them must have."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psycopg

from ops.outcomes import Batch
from ops.types import AdEvent, EventKind
from resources.changes.lease import PARTITION, WorkerLease
from resources.postgres.database import Database
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from resources.vector_search import indexes
from resources.vector_search.ad_vectors import LEASE, follow
from resources.vector_search.queries import Page, Query, SearchIndex, SimilarAd, steps
from tests.conftest import connect_args
from tests.support.batches import batch, event, outcome, put_test_release


@dataclass
class Seller:
    """Commits ads; `ads` has the vectors of each current ad's photos."""

    database: Database
    results: ResultWriter
    epochs: dict[int, int]
    ads: dict[tuple[str, str], Any] = field(default_factory=dict)
    offset: int = 0

    def put(self, ad_id: str, revision: int = 1, *, photos: int = 1, **changes: object) -> AdEvent:
        """Commit an ad with usable photos; `catalog` may be given."""
        catalog = str(changes.pop("catalog", "kg"))
        sent = event(ad_id, revision, photos=photos, **changes)
        sent = replace(sent, key=replace(sent.key, catalog=catalog))
        self.commit(sent)
        return sent

    def delete(self, ad_id: str, revision: int, catalog: str = "kg") -> None:
        """Commit a delete."""
        sent = event(ad_id, revision, photos=0)
        key = replace(sent.key, catalog=catalog)
        self.commit(replace(sent, key=key, kind=EventKind.DELETED))

    def commit(self, sent: AdEvent) -> Batch:
        """Commit one event."""
        done = batch(outcome(sent, offset=self.offset))
        self.offset += 1
        self.results.commit(done, self.epochs)
        vectors = {it.sha256: it.vector for it in done.embeddings}
        of_ad = [vectors[p.sha256] for p in done.ads[0].photos if p.sha256 is not None]
        key = (sent.key.catalog, sent.key.ad_id)
        self.ads.pop(key, None)
        if sent.kind is not EventKind.DELETED and of_ad:
            self.ads[key] = mean_of(of_ad)
        return done

    def nearest(self, vector: Any, limit: int) -> list[tuple[str, str]]:
        """The keys of the nearest ads, computed in numpy."""
        keys = sorted(self.ads)
        similarity = np.stack([self.ads[key] for key in keys]) @ np.asarray(vector, np.float64)
        order = sorted(range(len(keys)), key=lambda at: (-similarity[at], keys[at]))
        return [keys[at] for at in order[:limit]]


def mean_of(vectors: list[Any]) -> Any:
    """The mean of unit vectors, of unit length: (N, D) -> (D,) float64."""
    mean = np.mean([np.asarray(vector, np.float64) for vector in vectors], axis=0)
    return mean / np.linalg.norm(mean)


def seller_of(database: Database, connection: Any) -> Seller:
    """A seller with a live release.

    Args:
        connection: holds the lease while it is open.
    """
    put_test_release(database)
    epochs = Leases("stream-1", "ads", "run-1", 60).acquire(connection, [0])
    writer = ResultWriter(database, Holder("run-1", "stream-1", "ads", "ads.scored"))
    return Seller(database, writer, epochs)


def indexer_epoch(connection: Any, run: str = "indexer-1", ttl_s: float = 60) -> int:
    """The epoch of an indexer's lease, newly acquired."""
    return worker_epoch(connection, LEASE, run, ttl_s)


def worker_epoch(connection: Any, lease: WorkerLease, run: str, ttl_s: float = 60) -> int:
    """The epoch of a worker's lease, newly acquired."""
    leases = Leases(lease.stream, lease.topic, run, ttl_s)
    return leases.acquire(connection, [PARTITION])[PARTITION]


@contextmanager
def built_index(database: Database) -> Iterator[int]:
    """The epoch of an indexer that has built the indexes of the ads so far."""
    url = connect_args(database.url.render_as_string())
    with psycopg.connect(**url, autocommit=True) as lease:
        epoch = indexer_epoch(lease, ttl_s=600)
        for index in indexes.start_missing(database, epoch):
            indexes.build(database, index, epoch)
        yield epoch


def renew_all(database: Database, epoch: int) -> None:
    """Renew until the queue is empty."""
    taken = [0.0]
    while taken:
        with database.cursor() as cursor:
            taken = follow(cursor, epoch, limit=7)


def text_of(vector: Any) -> str:
    """A vector as pgvector's text."""
    return "[" + ",".join(f"{value:.6f}" for value in np.asarray(vector, np.float64)) + "]"


def search(database: Database, index: SearchIndex, query: Query) -> Page:
    """Execute a search in one transaction."""
    with database.cursor() as cursor:
        running = steps(index, query)
        statement = next(running)
        while True:
            try:
                statement = running.send(cursor.execute(*statement).fetchall())
            except StopIteration as end:
                assert isinstance(end.value, Page)
                return end.value


def keys_of(found: tuple[SimilarAd, ...]) -> list[tuple[str, str]]:
    """The keys of the ads that were found."""
    return [(ad.catalog, ad.ad_id) for ad in found]


def rows_of(database: Database, index: SearchIndex) -> set[tuple[Any, ...]]:
    """The index's rows, whole."""
    with database.cursor() as cursor:
        cursor.execute(f"SELECT * FROM lalafo.{index.partition}")
        return {tuple(map(str, row)) for row in cursor.fetchall()}
