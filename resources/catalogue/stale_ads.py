"""Reads the ads that a release has not scored, with their photos' vectors, at high speed.

Owns the definition of stale: a scored ad without a prediction of its current revision under a
release, in one task that is not off in its catalog. If none of a day's sampled ads has a
prediction, all its ads count as stale.
Keys come by binary COPY, one row per photo, ordered by ad, and are decoded only as far as needed:
the columns that a prediction repeats of its ad go back to PostgreSQL in the same bytes. The vectors
of each chunk follow (`stored_vectors.py`).
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import cast

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from ops.vectors import Embeddings
from resources.catalogue.stored_vectors import read_vectors
from resources.postgres.binary_copy import SIGNATURE
from resources.postgres.database import Database

_SHA256_BYTES = 32
_SHA256_FIELD_BYTES = 4 + _SHA256_BYTES  # the field's length, then the digest
_FIELDS_BYTES = 2  # a row begins with its number of fields
_HEADER_BYTES = len(SIGNATURE)

# These settings fix the plan, however many ads there are: from the day's ads by keys to their
# photos and vectors. Without them PostgreSQL 18 reads all photo references of the catalogue for
# each day and sorts rows with their vectors, on every core: 12 instead of 6 us per row. The
# prediction is looked up by key, ad by ad: NOT EXISTS would be a join, and in a partition without
# statistics that becomes a loop over all its rows for each ad, for minutes.
_PLAN = (
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; "
    "SET LOCAL enable_seqscan = off; SET LOCAL max_parallel_workers_per_gather = 0"
)
_UNSCORED = sql.SQL(
    "AND (SELECT p.revision FROM lalafo.predictions AS p WHERE p.release = {release} "
    "AND p.catalog = a.catalog AND p.ad_id = a.ad_id AND p.task = {task}) "
    "IS DISTINCT FROM a.revision"
)
# A sample of the day's ads. If none of them has a prediction, those of the others are not looked
# up, which saves a tenth of PostgreSQL's work. An ad that has one all the same is detected when
# its prediction is written, and keeps the existing one.
_SAMPLE = sql.SQL(
    "SELECT count(*) FROM (SELECT a.catalog, a.ad_id FROM lalafo.ads AS a "
    "WHERE a.day = {day} AND a.status = 'scored' LIMIT 200) AS a "
    "WHERE (SELECT p.revision FROM lalafo.predictions AS p WHERE p.release = {release} "
    "AND p.catalog = a.catalog AND p.ad_id = a.ad_id AND p.task = {task}) IS NOT NULL"
)
_ON = sql.SQL("AND a.catalog <> ALL({}::text[])")
_QUERY = sql.SQL(
    "COPY (SELECT a.catalog, a.ad_id, a.revision, a.day, ap.sha256 FROM lalafo.ads AS a "
    "JOIN lalafo.ad_photos AS ap ON ap.catalog = a.catalog AND ap.ad_id = a.ad_id "
    "WHERE a.day = {day} AND a.status = 'scored' AND ap.sha256 IS NOT NULL "
    "AND (hashtext(a.ad_id) & 65535) % {parts} = {part} "
    "{unscored} {on} "
    'ORDER BY a.catalog COLLATE "C", a.ad_id COLLATE "C", ap.position'
    ") TO STDOUT (FORMAT BINARY)"
)


@dataclass(frozen=True, slots=True)
class Part:
    """One of `parts` equal parts of a day's ads."""

    day: date
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class StaleQuery:
    """What to read, the same for every part."""

    release: str
    task: str
    backbone: str
    dimension: int  # of the backbone's vectors; 0: they are not read
    without: tuple[str, ...] = ()  # catalogs that the task is off in


@dataclass(frozen=True, slots=True)
class StaleAds:
    """Some ads, ascending by key.

    `keys`: each ad's catalog, id, revision and day, as the bytes of binary COPY. `vectors`: (N, D)
    of their distinct photos. `owner`: (N,) int64, ascending: the index of each vector's ad.
    `photos`: the SHA-256 of each vector's photo.
    """

    keys: list[bytes]
    vectors: Embeddings
    owner: NDArray[np.int64]
    photos: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Gathered:
    """The rows of whole ads that form a chunk."""

    keys: list[bytes] = field(default_factory=list)
    photos: list[bytes] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)


def read_stale(
    database: Database, query: StaleQuery, part: Part, *, photos_a_chunk: int
) -> Generator[StaleAds, None, None]:
    """The stale ads of a part of a day, in chunks of whole ads.

    A photo that an ad repeats counts once. A photo without a vector is skipped, and an ad without
    any, if vectors are read. Memory is that of one chunk, which exceeds `photos_a_chunk` by at most
    one ad's photos.

    Raises:
        ConfigurationError: a vector's length is not the backbone's.
        RetryableError: the connection to the server was lost.
    """
    names = {
        "day": sql.Literal(part.day),
        "release": sql.Literal(query.release),
        "task": sql.Literal(query.task),
    }
    with database.cursor() as cursor:
        cursor.execute(_PLAN)
        cursor.execute(_SAMPLE.format(**names))
        (scored,) = cursor.fetchall()[0]
        statement = _QUERY.format(
            **names,
            parts=sql.Literal(part.parts),
            part=sql.Literal(part.part),
            unscored=_UNSCORED.format(**names) if scored else sql.SQL(""),
            on=_ON.format(sql.Literal(list(query.without))) if query.without else sql.SQL(""),
        )
        with cursor.copy(statement) as copy:
            for gathered in _chunks(cast(Iterable[bytes], copy), photos_a_chunk):
                stale = _with_vectors(database, query, gathered)
                if stale.keys:
                    yield stale


def _chunks(rows: Iterable[bytes], photos: int) -> Iterator[_Gathered]:
    """Group rows, one per photo, into chunks of whole ads."""
    chunk, last, ad = _Gathered(), b"", -1
    for row in _without_header(rows):
        key, photo = row[_FIELDS_BYTES:-_SHA256_FIELD_BYTES], row[-_SHA256_BYTES:]
        if key != last:
            if len(chunk.owner) >= photos:
                yield chunk
                chunk, ad = _Gathered(), -1
            last, ad, first = key, ad + 1, len(chunk.owner)
            chunk.keys.append(key)
        elif photo in chunk.photos[first:]:
            continue
        chunk.photos.append(photo)
        chunk.owner.append(ad)
    if chunk.owner:
        yield chunk


def _without_header(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Each row's bytes, without the header before the first and the two-byte trailer."""
    first = True
    for row in rows:
        data = bytes(row)
        if first:
            first, data = False, data[_HEADER_BYTES:]
        if len(data) > _FIELDS_BYTES:
            yield data


def _with_vectors(database: Database, query: StaleQuery, chunk: _Gathered) -> StaleAds:
    if query.dimension == 0:
        none = np.zeros((len(chunk.photos), 0), np.float16)
        return StaleAds(chunk.keys, none, np.array(chunk.owner, np.int64), chunk.photos)
    with database.cursor() as cursor:
        cursor.execute(_PLAN)
        vectors, stored = read_vectors(cursor, query.backbone, query.dimension, chunk.photos)
    owner = np.array(chunk.owner, np.int64)
    if stored.all():
        return StaleAds(chunk.keys, vectors, owner, chunk.photos)
    ads, owner = np.unique(owner[stored], return_inverse=True)
    photos = [photo for photo, there in zip(chunk.photos, stored.tolist(), strict=True) if there]
    return StaleAds([chunk.keys[ad] for ad in ads.tolist()], vectors[stored], owner, photos)
