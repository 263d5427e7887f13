"""The ads of `lalafo bench search`: rows of `ads` and of `ad_vectors`, with generated vectors."""

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from resources.postgres.binary_copy import copy_binary
from resources.postgres.database import Database
from resources.vector_search.queries import SearchIndex

BACKBONE = "bench-000000000001"
CHUNK = 20_000
_DIRECTIONS = 64
_ADS_A_CLUSTER = 200
_NOISE = 0.05
_FIRST = datetime(2026, 6, 1, tzinfo=UTC)
_COLUMNS = (
    *("backbone", "catalog", "ad_id", "revision", "category", "seller", "received_at", "vector"),
)
_ADS = """
    INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, category,
        seller, event_id, occurred_at, kafka_at, received_at, stream_id, topic, partition, "offset",
        run_id)
    SELECT 'kg', lpad(n::text, 9, '0'), 1, %(first)s::date, 'scored', 'Offer ' || n, '',
        'c' || n %% 10, 's' || lpad((n %% 100)::text, 2, '0'), 'e' || n, %(first)s, %(first)s,
        %(first)s, 'bench', 'ads', 0, n, 'bench'
    FROM generate_series(0, %(rows)s - 1) AS n"""

Halves = NDArray[np.float16]


class Vectors:
    """Unit vectors in clusters: (N, D) float16. They differ in few directions, as embeddings do.

    Args:
        rows: which the number of clusters follows from.
    """

    def __init__(self, rows: int, dimension: int, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        directions = min(_DIRECTIONS, dimension)
        basis = np.linalg.qr(rng.normal(size=(dimension, directions)))[0].T
        self._basis = (basis / np.sqrt(1 + np.arange(directions))[:, None]).astype(np.float32)
        self._centers = rng.normal(size=(max(1, rows // _ADS_A_CLUSTER), directions)) * 1.5
        self._dimension = dimension

    def draw(self, count: int, seed: int) -> Halves:
        """Draw vectors: (count, D); the same seed gives the same ones."""
        rng = np.random.default_rng(seed)
        centers = self._centers[rng.integers(len(self._centers), size=count)]
        places = (centers + rng.normal(size=centers.shape)).astype(np.float32)
        noise = rng.standard_normal((count, self._dimension), dtype=np.float32)
        vectors = places @ self._basis + noise * np.float32(_NOISE / np.sqrt(self._dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float16)


def fill_ads(database: Database, rows: int) -> None:
    """Add the rows of `ads`: ten categories, a hundred sellers, in turn."""
    with database.cursor() as cursor:
        cursor.execute(_ADS, {"first": _FIRST, "rows": rows})


def put_vectors(
    database: Database,
    index: SearchIndex,
    vectors: Halves,
    numbers: NDArray[np.int64],
    *,
    revision: int = 1,
    done: Callable[[int], object] = lambda _: None,
) -> None:
    """Add the rows of these ads to a partition, in chunks."""
    for start in range(0, len(numbers), CHUNK):
        part = slice(start, start + CHUNK)
        with database.cursor() as cursor:
            copy_vectors(cursor, index, vectors[part], numbers[part], revision)
        done(min(start + CHUNK, len(numbers)))


def copy_vectors(
    cursor: psycopg.Cursor[Any],
    index: SearchIndex,
    vectors: Halves,
    numbers: NDArray[np.int64],
    revision: int,
) -> None:
    """Add rows by one COPY."""
    rows = _encoded(vectors, numbers, revision)
    copy_binary(cursor, f"lalafo.{index.partition}", _COLUMNS, rows)


def _encoded(vectors: Halves, numbers: NDArray[np.int64], revision: int) -> bytes:
    """Rows in binary COPY format; every text of a column has the same length."""
    texts = {
        "backbone": np.full(len(numbers), BACKBONE.encode()),
        "catalog": np.full(len(numbers), b"kg"),
        "ad_id": np.array([b"%09d" % n for n in numbers.tolist()]),
        "category": np.array([b"c%d" % (n % 10) for n in numbers.tolist()]),
        "seller": np.array([b"s%02d" % (n % 100) for n in numbers.tolist()]),
    }
    fields: list[Any] = [("fields", ">i2")]
    for name in _COLUMNS:
        fields.append((f"{name}_bytes", ">i4"))
        if name in texts:
            fields.append((name, texts[name].dtype))
        elif name == "vector":
            fields += [("size", ">u2"), ("zero", ">u2"), (name, ">f2", vectors.shape[1])]
        else:
            fields.append((name, ">i8"))
    rows = np.zeros(len(numbers), np.dtype(fields))
    rows["fields"] = len(_COLUMNS)
    for name in _COLUMNS:
        rows[f"{name}_bytes"] = (
            texts[name].dtype.itemsize if name in texts else struct.calcsize("q")
        )
    rows["vector_bytes"] = 4 + 2 * vectors.shape[1]
    for name, values in texts.items():
        rows[name] = values
    rows["revision"] = revision
    epoch = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's
    rows["received_at"] = round((_FIRST - epoch).total_seconds() * 1e6)
    rows["size"] = vectors.shape[1]
    rows["vector"] = vectors
    return rows.tobytes()
