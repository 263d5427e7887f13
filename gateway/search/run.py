"""A search, from the request to the answer, in one transaction.

Owns where the vector comes from, and why there may be none. Each answer is of one backbone: that of
the release that is live when the search begins.
"""

import math
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.problems import Problem
from gateway.reads.ad_summaries import ad_summaries
from gateway.schemas.similar import SearchIn
from gateway.search.cursors import cursor_at, position_at
from gateway.search.photos import PhotoVector
from ops.types import AdKey, PhotoNote
from resources.vector_search.photo_requests import BLANK
from resources.vector_search.queries import Filters, Page, Query, SearchIndex, steps

Connection = psycopg.AsyncConnection[Any]

_LIVE = """
    SELECT r.backbone, i.dimension, i.partition, i.state FROM lalafo.active_releases AS f
    JOIN lalafo.releases AS r ON r.name = f.live
    LEFT JOIN lalafo.vector_indexes AS i ON i.backbone = r.backbone"""
_OF_AD = """
    SELECT a.status, a.seller, (SELECT v.vector::text FROM lalafo.{partition} AS v
            WHERE v.catalog = a.catalog AND v.ad_id = a.ad_id AND v.revision = a.revision),
        (SELECT bool_and(s.note IS NOT DISTINCT FROM 'photo_blank') FROM lalafo.ad_photos AS p
            JOIN lalafo.photos AS s USING (sha256)
            WHERE p.catalog = a.catalog AND p.ad_id = a.ad_id)
    FROM lalafo.ads AS a WHERE a.catalog = %(catalog)s AND a.ad_id = %(ad_id)s"""
_OF_PHOTO = """
    SELECT (SELECT e.embedding::text FROM lalafo.embeddings AS e
            WHERE e.backbone = %(backbone)s AND e.sha256 = %(sha256)s),
        (SELECT s.note FROM lalafo.photos AS s WHERE s.sha256 = %(sha256)s)
    WHERE EXISTS (SELECT FROM lalafo.ad_photos AS p WHERE p.sha256 = %(sha256)s
        AND (%(catalogs)s::text[] IS NULL OR p.catalog = ANY(%(catalogs)s::text[])))"""


@repeated_once(repeatable=True)
async def search(
    database: GatewayDatabase,
    asked: SearchIn,
    catalogs: Sequence[str] | None,
    readable: Sequence[str] | None,
    photo: PhotoVector | None = None,
) -> dict[str, Any]:
    """Search, in the shape of `schemas.similar.SimilarPage`.

    Args:
        catalogs: whose ads may be found; None: all.
        readable: whose photos may be searched by; None: all.
        photo: what to search by, instead of what `asked` names.

    Raises:
        Problem: 404, 409 or 422: there is nothing to search by, or no index.
        RetryableError: PostgreSQL is unavailable, or too slow.
    """
    async with database.connection() as connection:
        try:
            return await _search(connection, asked, catalogs, readable, photo)
        except (
            errors.UndefinedTable
        ):  # an index that was dropped meanwhile: its release is not live
            return await _search(connection, asked, catalogs, readable, photo)


async def _search(
    connection: Connection,
    asked: SearchIn,
    catalogs: Sequence[str] | None,
    readable: Sequence[str] | None,
    photo: PhotoVector | None,
) -> dict[str, Any]:
    async with connection.transaction():
        index = await _index(connection)
        after = position_at(asked.cursor, index.backbone)
        if photo is None:
            vector, seller = await _vector(connection, asked, index, readable)
        else:
            vector, seller = _vector_of_photo(photo, index), None
        own = None if asked.ad is None else (asked.ad.catalog, asked.ad.ad_id)
        other = None if own is None or seller is None else (own[0], seller)
        filters = Filters(
            catalogs=catalogs,
            category=asked.category,
            price_from=asked.price_from,
            price_to=asked.price_to,
            currency=asked.currency,
            seller=asked.seller,
            since=asked.since,
            until=asked.until,
            but_ad=None if asked.include_own else own,
            but_seller=other if asked.other_sellers else None,
        )
        query = Query(vector, filters, asked.limit, asked.min_similarity, after)
        page = await _run(connection, index, query)
        ads = await _summaries(connection, page)
    return {
        "ads": ads,
        "exact": page.exact,
        "backbone": index.backbone,
        "sha256": asked.sha256 if photo is None else photo.sha256.hex(),
        "next": None if page.next is None else cursor_at(page.next, index.backbone),
    }


async def _index(connection: Connection) -> SearchIndex:
    row = await (await connection.execute(_LIVE)).fetchone()
    if row is None:
        raise Problem(409, "no_release", "no release is live, so no ad has a vector")
    backbone, dimension, partition, state = row
    if state is None:
        raise Problem(
            409,
            "no_index",
            f"there is no index of the live release's backbone {backbone}; with "
            "LALAFO_SIMILAR_ADS=true one is built as soon as an ad is scored",
        )
    if state != "ready":
        raise Problem(
            409,
            "index_not_ready",
            f"the index of the live release's backbone {backbone} is being built; the asset "
            "similarity_index in Dagster shows its state",
        )
    return SearchIndex(backbone, dimension, partition, state)


async def _vector(
    connection: Connection, asked: SearchIn, index: SearchIndex, readable: Sequence[str] | None
) -> tuple[str, str | None]:
    """The vector to search by, and the seller of its ad."""
    if asked.ad is not None:
        return await _vector_of_ad(connection, AdKey(asked.ad.catalog, asked.ad.ad_id), index)
    if asked.sha256 is not None:
        values = {
            **{"backbone": index.backbone, "sha256": bytes.fromhex(asked.sha256)},
            "catalogs": None if readable is None else list(readable),
        }
        row = await (await connection.execute(_OF_PHOTO, values)).fetchone()
        if row is None:
            detail = f"no ad that this key may read has the photo {asked.sha256}"
            raise Problem(404, "no_such_photo", detail)
        if row[1] == PhotoNote.PHOTO_BLANK:
            detail = f"the photo {asked.sha256} can't be searched by: {BLANK}"
            raise Problem(422, "photo_not_usable", detail, reason=row[1])
        if row[0] is None:
            raise Problem(409, "not_indexed", f"the photo {asked.sha256} is not embedded yet")
        return row[0], None
    assert asked.vector is not None  # checked by the route
    return _unit(asked.vector, index.dimension), None


def _vector_of_photo(photo: PhotoVector, index: SearchIndex) -> str:
    if photo.backbone != index.backbone:
        raise Problem(
            409, "other_backbone", "another release went live during the search; repeat it"
        )
    return photo.vector


async def _vector_of_ad(
    connection: Connection, key: AdKey, index: SearchIndex
) -> tuple[str, str | None]:
    values = {"catalog": key.catalog, "ad_id": key.ad_id}
    statement = _OF_AD.format(partition=index.partition)
    row = await (await connection.execute(statement, values)).fetchone()
    if row is None or row[0] == "deleted":
        raise Problem(
            404, "no_such_ad", f"there is no ad {key.ad_id!r} in the catalog {key.catalog!r}"
        )
    status, seller, vector, blank = row
    if vector is not None:
        return vector, seller
    if status in ("no_photos", "unscored"):
        raise Problem(409, "no_usable_photo", f"the ad {key} has no usable photo")
    if blank:
        detail = f"each photo of the ad {key} has one colour: they are like no other photo"
        raise Problem(409, "no_usable_photo", detail, reason=str(PhotoNote.PHOTO_BLANK))
    raise Problem(
        409, "not_indexed", f"the ad {key} has no vector yet; usually within a second of its commit"
    )


def _unit(vector: Sequence[float], dimension: int) -> str:
    """The vector as pgvector's text, of unit length."""
    if len(vector) != dimension:
        raise Problem(
            422,
            "wrong_dimension",
            f"the vector has {len(vector)} numbers; those of the live release's backbone have "
            f"{dimension}",
            allowed=dimension,
        )
    length = math.sqrt(math.fsum(value * value for value in vector))
    if length < 1e-6:
        raise Problem(422, "zero_vector", "the vector is zero: nothing is similar to it")
    return "[" + ",".join(f"{value / length:.7f}" for value in vector) + "]"


async def _run(connection: Connection, index: SearchIndex, query: Query) -> Page:
    running = steps(index, query)
    statement, values = next(running)
    while True:
        # Planned anew each time: which plan is good depends on the filters' values.
        cursor = await connection.execute(statement, values, prepare=False)
        try:
            statement, values = running.send(await cursor.fetchall())
        except StopIteration as end:
            page: Page = end.value
            return page


async def _summaries(connection: Connection, page: Page) -> list[dict[str, Any]]:
    """The ads of a page, in its order; one that has changed meanwhile is left out."""
    found = [(AdKey(ad.catalog, ad.ad_id), ad.revision) for ad in page.ads]
    known = await ad_summaries(connection, found)
    return [
        {**known[key], "similarity": round(max(-1.0, min(1.0, ad.similarity)), 6)}
        for ad, (key, _) in zip(page.ads, found, strict=True)
        if key in known
    ]
