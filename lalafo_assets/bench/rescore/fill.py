"""Fills the database of `lalafo bench rescore` with ads, photos and embeddings.

The data is thirty days of ads in the order of arrival, with one photo per ad or 2.5 on average,
random unit vectors of mobilenet_v3_small's length, and two releases of one backbone. The tables are
the product's own; only the foreign-key checks are off while the rows are inserted.
"""

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import numpy as np
import psycopg
from numpy.typing import NDArray

from ops.models.release import Head, Preprocessing
from ops.scoring.ready_release import ReadyRelease
from ops.vectors import Embeddings
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.releases.registry import RegisteredRelease, partition_name, register

DIMENSION = 576  # of mobilenet_v3_small
CATEGORIES = 29
BACKBONE = "mobilenet_v3_small-0123456789ab"
FIRST_DAY = date(2026, 6, 1)
DAYS = tuple(FIRST_DAY + timedelta(days=n) for n in range(30))
PHOTOS_OF_ADS = {1.0: (1,), 2.5: (1, 2, 3, 4)}  # by the mean: photos of each ad, in turn
_CHUNK = 10_000
_RUN = "0" * 36  # as long as a Dagster run's id


class NoBackbone:
    """Stands in for a backbone where nothing is embedded."""

    dimension = DIMENSION

    def embed(self, images: object) -> Embeddings:
        """Raise AssertionError: a head-only re-score must not embed."""
        raise AssertionError("a head-only re-score embedded photos")


def bench_release(seed: int) -> ReadyRelease:
    """A release of 29 categories with random weights; the same seed gives the same release."""
    rng = np.random.default_rng(seed)
    labels = tuple(f"category {number:02d}" for number in range(CATEGORIES))
    weight = rng.normal(size=(CATEGORIES, DIMENSION), scale=3).astype(np.float32)
    head = Head("category", labels, weight, np.zeros(CATEGORIES, np.float32))
    return ReadyRelease(
        name=f"mobilenet_v3_small-{_digest(seed)[:12]}",
        backbone=BACKBONE,
        preprocessing=Preprocessing(),
        embedder=NoBackbone(),
        heads={"category": head},
    )


def scored_partition() -> str:
    """The predictions table of the release that is not live, which the bench scores."""
    return partition_name(_digest(1))


def fill(
    database: Database, *, rows: int, photos_per_ad: float, on_progress: Callable[[int], object]
) -> int:
    """Insert `rows` embeddings into an empty, migrated database.

    Args:
        photos_per_ad: a key of PHOTOS_OF_ADS.
        on_progress: called with the embeddings written so far.

    Returns:
        How many ads the embeddings belong to.
    """
    for seed in (0, 1):
        release = bench_release(seed)
        taxonomy = {task: list(head.labels) for task, head in release.linear_heads.items()}
        manifest = {"taxonomy": taxonomy}
        register(database, RegisteredRelease(release.name, _digest(seed), BACKBONE, manifest))
    owners, positions = _owners(rows, PHOTOS_OF_ADS[photos_per_ad])
    ads = int(owners[-1]) + 1
    with database.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no foreign-key checks
        cursor.execute(
            "INSERT INTO lalafo.ads SELECT 'bench', lpad(n::text, 9, '0'), 1, "
            "%(first)s::date + (n * %(days)s / %(ads)s)::int, 'scored', 'An ad', '', NULL, NULL, "
            "NULL, 'e' || n, now(), now(), now(), 'bench', 'ads', 0, n, %(run)s "
            "FROM generate_series(0, %(ads)s::bigint - 1) AS n",
            {"first": FIRST_DAY, "days": len(DAYS), "ads": ads, "run": _RUN},
        )
        cursor.execute(
            "INSERT INTO lalafo.photos SELECT sha256(int8send(n)), sha256(int8send(n)), 30000, "
            "400, 533, 'jpeg', 400, 533, 30000, NULL, %s "
            "FROM generate_series(0, %s::bigint - 1) AS n",
            (_RUN, rows),
        )
        _copy_references(cursor, owners, positions)
        _copy_embeddings(cursor, rows, on_progress)
    make_live(database, bench_release(0).name)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE)")
        connection.exec_driver_sql("CHECKPOINT")
    return ads


def _digest(seed: int) -> str:
    return f"{seed:x}" * 64


def _owners(
    rows: int, photos_of_ads: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each photo's ad and its position in that ad."""
    turns = rows // sum(photos_of_ads) + 1
    counts = np.tile(np.array(photos_of_ads), turns)
    owners = np.repeat(np.arange(len(counts)), counts)[:rows]
    first = np.concatenate(([0], np.cumsum(counts)[:-1]))
    return owners, np.arange(rows) - first[owners]


def _copy_references(
    cursor: psycopg.Cursor[tuple[object, ...]],
    owners: NDArray[np.int64],
    positions: NDArray[np.int64],
) -> None:
    cursor.execute("CREATE TEMP TABLE owned (n int8, ad int8, place int2) ON COMMIT DROP")
    with cursor.copy("COPY owned FROM STDIN") as copy:
        for start in range(0, len(owners), _CHUNK):
            stop = start + _CHUNK
            parts = zip(owners[start:stop].tolist(), positions[start:stop].tolist(), strict=True)
            copy.write("".join(f"{start + i}\t{ad}\t{at}\n" for i, (ad, at) in enumerate(parts)))
    cursor.execute(
        "INSERT INTO lalafo.ad_photos SELECT 'bench', lpad(ad::text, 9, '0'), place, "
        "'https://photos.example/' || n || '.jpg', sha256(int8send(n)), NULL, 1, %s "
        "FROM owned ORDER BY n",
        (_RUN,),
    )


def _copy_embeddings(
    cursor: psycopg.Cursor[tuple[object, ...]], rows: int, on_progress: Callable[[int], object]
) -> None:
    cursor.execute("CREATE TEMP TABLE vectors (n int8, embedding halfvec) ON COMMIT DROP")
    written = 0
    for count, block in _vectors(rows):
        with cursor.copy("COPY vectors FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            copy.write(block)
            copy.write(b"\xff\xff")
        cursor.execute(
            "INSERT INTO lalafo.embeddings SELECT %s, sha256(int8send(n)), embedding, %s, %s "
            "FROM vectors",
            (BACKBONE, bench_release(0).name, _RUN),
        )
        cursor.execute("TRUNCATE vectors")
        written += count
        on_progress(written)


def _vectors(rows: int) -> Iterator[tuple[int, bytes]]:
    """Blocks of (n, vector) rows in binary COPY format, each with its number of rows."""
    shape = [("fields", ">i2"), ("n_size", ">i4"), ("n", ">i8"), ("size", ">i4")]
    row = np.dtype([*shape, ("dimension", ">i2"), ("zero", ">i2"), ("vector", ">f2", DIMENSION)])
    rng = np.random.default_rng(0)
    for start in range(0, rows, _CHUNK):
        count = min(_CHUNK, rows - start)
        vectors = rng.standard_normal((count, DIMENSION), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        block = np.zeros(count, row)
        block["fields"], block["n_size"], block["n"] = 2, 8, np.arange(start, start + count)
        block["size"], block["dimension"] = 4 + 2 * DIMENSION, DIMENSION
        block["vector"] = vectors.astype(np.float16)
        yield count, block.tobytes()
