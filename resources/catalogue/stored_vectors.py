"""Reads the stored vectors of some thousand photos at high speed.

Photos of one day are mostly embedded one after another, so their rows lie in a few pages of the
table. A sample of the photos gives these pages, and all their rows are read in the order of the
pages, without a look-up for each. Photos that are stored elsewhere are looked up by key.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from ops.errors import ConfigurationError
from ops.vectors import Embeddings
from resources.postgres.binary_copy import SIGNATURE, TRAILER

_SAMPLE = 64
_PAGE_BYTES = 8_192
_ROW_OVERHEAD_BYTES = 150  # of a row of `embeddings`, without the vector
_INLINE_BYTES = 2_032
"""PostgreSQL's TOAST_TUPLE_THRESHOLD: the vector of a longer row, from about 930 dimensions on, is
stored elsewhere, and the row has a pointer to it."""
_POINTER_BYTES = 18
_SPARE = 1.5
"""Pages are read as a whole if they are at most so many times those that the photos fill."""

_PAGES = (
    "SELECT (e.ctid::text::point)[0]::bigint FROM lalafo.embeddings AS e "
    "WHERE e.backbone = %s AND e.sha256 = ANY(%s) ORDER BY 1"
)
_IN_PAGES = sql.SQL(
    "COPY (SELECT e.sha256, e.embedding FROM lalafo.embeddings AS e WHERE e.ctid >= {first} "
    "AND e.ctid < {after} AND e.backbone = {backbone}) TO STDOUT (FORMAT BINARY)"
)
_BY_KEY = sql.SQL(
    "COPY (SELECT e.sha256, e.embedding FROM unnest({photos}::bytea[]) AS p (sha256) "
    "JOIN lalafo.embeddings AS e ON e.backbone = {backbone} AND e.sha256 = p.sha256) "
    "TO STDOUT (FORMAT BINARY)"
)


def read_vectors(
    cursor: psycopg.Cursor[Any], backbone: str, dimension: int, photos: Sequence[bytes]
) -> tuple[Embeddings, NDArray[np.bool_]]:
    """Read the vectors of photos, each at its place: (N, D) float16, and whether each is stored.

    Args:
        cursor: of a transaction in which plans that read whole tables are off.
        photos: N SHA-256 digests; a digest may be repeated.

    Raises:
        ConfigurationError: a vector's length is not `dimension`.
    """
    places = {sha256: place for place, sha256 in enumerate(dict.fromkeys(photos))}
    distinct = list(places)
    vectors = np.zeros((len(places), dimension), np.float16)
    found = np.zeros(len(places), np.bool_)

    def put(statement: sql.Composed) -> None:
        rows = _rows(cursor, statement, backbone, dimension)
        at = np.fromiter((places.get(key, -1) for key in rows["sha256"].tolist()), np.int64)
        wanted = at >= 0
        if not wanted.all():
            rows, at = rows[wanted], at[wanted]
        vectors[at] = rows["vector"]
        found[at] = True

    name = sql.Literal(backbone)
    pages = _pages(cursor, backbone, dimension, distinct)
    if pages is not None:
        first, last = (sql.Literal(f"({page},0)") for page in pages)
        put(_IN_PAGES.format(first=first, after=last, backbone=name))
    if not found.all():
        missing = [distinct[place] for place in np.flatnonzero(~found).tolist()]
        put(_BY_KEY.format(photos=sql.Literal(missing), backbone=name))
    if len(distinct) == len(photos):
        return vectors, found
    index = np.array([places[sha256] for sha256 in photos], np.int64)
    return vectors[index], found[index]


def _pages(
    cursor: psycopg.Cursor[Any], backbone: str, dimension: int, photos: Sequence[bytes]
) -> tuple[int, int] | None:
    """The first page that holds these photos' rows and the one after the last; None if many of
    the rows in between are of other photos."""
    sample = sorted({*photos[:: max(1, len(photos) // _SAMPLE)], *photos[-1:]})
    cursor.execute(_PAGES, (backbone, sample))
    pages = [page for (page,) in cursor.fetchall()]
    filled = len(photos) * _row_bytes(dimension) / _PAGE_BYTES
    few = len(pages) // 16  # such as photos that the ads share with those of other days
    for left_out in (0, few):
        inner = pages[left_out : len(pages) - left_out]
        if inner and inner[-1] - inner[0] < _SPARE * filled:
            margin = (inner[-1] - inner[0]) // (_SAMPLE // 2)
            return max(0, inner[0] - margin), inner[-1] + margin + 1
    return None


def _row_bytes(dimension: int) -> int:
    """The bytes of a row in the table's own pages, about."""
    row = 2 * dimension + _ROW_OVERHEAD_BYTES
    return row if row <= _INLINE_BYTES else _POINTER_BYTES + _ROW_OVERHEAD_BYTES


def _rows(
    cursor: psycopg.Cursor[Any], statement: sql.Composed, backbone: str, dimension: int
) -> NDArray[Any]:
    """The rows of a COPY of digest and vector."""
    row = np.dtype(
        [
            *(("fields", ">i2"), ("key_bytes", ">i4"), ("sha256", "V32"), ("bytes", ">i4")),
            *(("dimension", ">i2"), ("unused", ">i2"), ("vector", ">f2", dimension)),
        ]
    )
    with cursor.copy(statement) as copy:
        # As bytes: thousands of memoryviews at once would start the garbage collector.
        data = memoryview(b"".join(map(bytes, copy)))[len(SIGNATURE) : -len(TRAILER)]
    if len(data) % row.itemsize == 0:
        rows = np.frombuffer(data, row)
        if np.all(rows["key_bytes"] == 32) and np.all(rows["dimension"] == dimension):
            return rows
    raise ConfigurationError(
        f"not all stored embeddings of {backbone} have {dimension} dimensions, as its release "
        "has: they were written by another program"
    )
