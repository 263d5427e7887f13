"""What each process of a peer does with photos: fetch, decode, embed, predict, upsert.

All peers share it, so that they differ only in what hands the photos to their processes. It keeps
the result of a photo and nothing else: no bytes, hashes, revisions, offsets or failures.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg

from lalafo_assets.bench.stream.baseline import KeptConnections

TABLE = (
    "CREATE TABLE public.peer_photos (url text PRIMARY KEY, embedding halfvec NOT NULL, "
    "label text NOT NULL, score real NOT NULL, process int NOT NULL, "
    "stored_at timestamptz NOT NULL)"
)
BATCH_PHOTOS = 32
FETCH_THREADS = 4
TASK = "category"
_UPSERT = (
    "INSERT INTO public.peer_photos VALUES (%s, %b, %s, %s, %s, clock_timestamp()) "
    "ON CONFLICT (url) DO UPDATE SET embedding = EXCLUDED.embedding, label = EXCLUDED.label, "
    "score = EXCLUDED.score, process = EXCLUDED.process, stored_at = EXCLUDED.stored_at"
)


class Fetcher:
    """Fetches photos over HTTP in threads, each with a persistent connection."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(FETCH_THREADS, "fetch")
        self._connections = KeptConnections()

    def start(self, urls: Sequence[str]) -> "list[Future[bytes]]":
        """Begin to fetch these URLs; returns their bytes in the same order."""
        return [self._pool.submit(self._connections.get, url) for url in urls]


class PhotoWork:
    """The model, on one torch thread, and a connection to PostgreSQL; not thread-safe.

    Args:
        database: the connection string of the database with TABLE.
        mode: how the network runs, as in Embedder.
    """

    def __init__(self, database: str, mode: Any) -> None:
        from lalafo_assets.starter import load_starter
        from ops.models.embed import Embedder
        from resources.postgres.binary_copy import register_halfvec

        release = load_starter()
        self._head = release.linear_heads[TASK]
        self._preprocessing = release.manifest.preprocessing
        self._embedder = Embedder(release.backbone, device="cpu", threads=1, mode=mode)
        self._embedder.warm_up()
        self._connection = psycopg.connect(database)
        register_halfvec(self._connection)
        self._connection.commit()

    def score_and_store(self, urls: Sequence[str], photos: Sequence[bytes]) -> None:
        """Decode, embed and predict these photos, and commit a row for each."""
        from ops.models.embed import prepare
        from ops.models.heads import class_probabilities

        vectors = self._embedder.embed([prepare(data, self._preprocessing) for data in photos])
        rows = []
        for url, vector, row in zip(
            urls, vectors, class_probabilities(vectors, self._head), strict=True
        ):
            best = int(row.argmax())
            rows.append((url, vector, self._head.labels[best], float(row[best]), os.getpid()))
        with self._connection.cursor() as cursor:
            cursor.executemany(_UPSERT, rows)
        self._connection.commit()
