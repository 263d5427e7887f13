"""Which ads may be the same as one: a few, by bounded look-ups, however many ads there are.

Ads of the same catalog with a photo of the same bytes, or of a hash that is near; those whose
photos are most alike by their vectors; the last ads of the same seller, and of a title of the same
words; and those that were the same before, or that a person has judged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import errors

from ops.duplicates.ads.groups import MOST_ADS
from ops.duplicates.ads.titles import title_key
from ops.duplicates.look_up import FURTHEST, NEAREST, searched_keys
from ops.duplicates.pdq import LEAST_QUALITY, Pdq
from ops.types import AdKey
from resources.duplicates.stored_ads import StoredAd
from resources.postgres.database import Database
from resources.vector_search.queries import Filters, Query, SearchIndex, steps

MOST_CANDIDATES = 150
NEAR_PHOTOS = 25
"""Photos with a near hash that are looked at, the nearest ones: more than a photo's ads can be
without it being a common one."""

NEAR_HASHES = 1_000
NEAREST_ADS, LAST_OF_TITLE, LAST_OF_SELLER, LAST_PARTNERS = 20, 20, 50, 100

Cursor = psycopg.Cursor[Any]

LOOK_UPS = "SET LOCAL enable_seqscan = off"
"""The planner overestimates how many hashes have one of many keys, and would read all of them."""

_SAME_BYTES = """
    SELECT DISTINCT ad_id FROM (SELECT p.ad_id FROM lalafo.ad_photos AS p
        WHERE p.sha256 = ANY(%(photos)s) AND p.catalog = %(catalog)s LIMIT %(limit)s) AS found
    WHERE ad_id <> %(ad_id)s"""
# The nearest are chosen before their ads are looked up: a common photo has very many.
NEAR = """
    WITH near AS MATERIALIZED (
        SELECT sha256, distance FROM (SELECT sha256, distance FROM (SELECT h.sha256,
                least(bit_count(h.pdq # %(hash)s::bit(256)),
                    bit_count(h.pdq # %(mirrored)s::bit(256))) AS distance
                FROM lalafo.photo_hashes AS h WHERE h.words && %(keys)s::integer[]) AS held
            WHERE distance <= %(within)s LIMIT %(most)s) AS found
        WHERE sha256 <> %(sha256)s AND EXISTS (
            SELECT FROM lalafo.ad_photos AS p WHERE p.sha256 = found.sha256
            AND p.catalog = %(catalog)s AND p.ad_id <> %(ad_id)s)
        ORDER BY distance, sha256 LIMIT %(limit)s)
    SELECT near.sha256, ads.ad_id FROM near CROSS JOIN LATERAL (
        SELECT p.ad_id FROM lalafo.ad_photos AS p WHERE p.sha256 = near.sha256
        AND p.catalog = %(catalog)s AND p.ad_id <> %(ad_id)s LIMIT %(ads)s) AS ads
    ORDER BY near.distance, near.sha256, ads.ad_id"""
_OF_SELLER = """
    SELECT c.ad_id FROM lalafo.compared_ads AS c
    WHERE c.catalog = %(catalog)s AND c.seller = %(seller)s
    ORDER BY c.received_at DESC LIMIT %(limit)s"""
_OF_TITLE = """
    SELECT c.ad_id FROM lalafo.compared_ads AS c
    WHERE c.catalog = %(catalog)s AND c.title_key = %(title_key)s
    ORDER BY c.received_at DESC LIMIT %(limit)s"""
_PARTNERS = """
    (SELECT other_id FROM lalafo.{table} WHERE catalog = %(catalog)s AND ad_id = %(ad_id)s
        {and_same} LIMIT %(limit)s)
    UNION ALL (SELECT ad_id FROM lalafo.{table} WHERE catalog = %(catalog)s
        AND other_id = %(ad_id)s {and_same} LIMIT %(limit)s)"""
_INDEX = """
    SELECT i.backbone, i.dimension, i.partition, i.state FROM lalafo.active_releases AS f
    JOIN lalafo.releases AS r ON r.name = f.live
    JOIN lalafo.vector_indexes AS i ON i.backbone = r.backbone WHERE i.state = 'ready'"""
# Computed, since the ad's own row may not be there yet.
_VECTOR = """
    SELECT m.vector::text FROM (SELECT l2_normalize(avg(e.embedding::vector))::halfvec AS vector
        FROM lalafo.embeddings AS e JOIN lalafo.photos AS s USING (sha256)
        WHERE e.backbone = %s AND e.sha256 = ANY(%s) AND s.note IS DISTINCT FROM 'photo_blank') AS m
    WHERE l2_norm(m.vector) > 0.5"""


def partners(cursor: Cursor, key: AdKey) -> list[str]:
    """The ads that the ad is a pair with now, and those that a person has called the same."""
    values = {"catalog": key.catalog, "ad_id": key.ad_id, "limit": LAST_PARTNERS}
    found: list[str] = []
    for table, and_same in (("ad_pairs", ""), ("duplicate_labels", "AND same")):
        cursor.execute(_PARTNERS.format(table=table, and_same=and_same), values)
        found += [ad_id for (ad_id,) in cursor]
    return list(dict.fromkeys(found))


def with_same_bytes(cursor: Cursor, key: AdKey, photos: Sequence[bytes]) -> list[str]:
    """Ads with one of these photos, byte for byte."""
    limit = (MOST_ADS + 1) * len(photos)
    values = {"photos": list(photos), "catalog": key.catalog, "ad_id": key.ad_id, "limit": limit}
    return [ad_id for (ad_id,) in cursor.execute(_SAME_BYTES, values)]


def with_near_hashes(cursor: Cursor, key: AdKey, hashes: Mapping[bytes, Pdq]) -> list[str]:
    """Ads with a photo whose hash is near that of one of these, or of its mirror image.

    Hashes within 11 bits are found by 12 keys each. Only where there is none, 268 keys look up to
    31 bits.
    """
    found: list[str] = []
    for sha256, pdq in hashes.items():
        if pdq.quality < LEAST_QUALITY:
            continue
        rows: list[tuple[bytes, str]] = []
        for within in (NEAREST, FURTHEST):
            rows = cursor.execute(NEAR, near_values(key, sha256, pdq, within=within)).fetchall()
            if rows:
                break
        found += [ad_id for _, ad_id in rows]
    return list(dict.fromkeys(found))


def near_values(key: AdKey, sha256: bytes, pdq: Pdq, *, within: int) -> dict[str, Any]:
    """The parameters of NEAR."""
    both = (pdq.hash, pdq.mirrored)
    keys = sorted({number for one in both for number in searched_keys(one, within=within)})
    return {
        **{"hash": bits_of(pdq.hash), "mirrored": bits_of(pdq.mirrored), "keys": keys},
        **{"within": within, "sha256": sha256, "limit": NEAR_PHOTOS, "most": NEAR_HASHES},
        **{"catalog": key.catalog, "ad_id": key.ad_id, "ads": MOST_ADS + 1},
    }


def bits_of(hash_: bytes) -> str:
    """A hash as PostgreSQL's bit(256)."""
    return f"{int.from_bytes(hash_):0256b}"


def of_seller(cursor: Cursor, ad: StoredAd) -> list[str]:
    """The last ads of the ad's seller that were compared."""
    if ad.seller is None:
        return []
    values = {"catalog": ad.key.catalog, "seller": ad.seller, "limit": LAST_OF_SELLER}
    cursor.execute(_OF_SELLER, values)
    return [ad_id for (ad_id,) in cursor if ad_id != ad.key.ad_id]


def of_title(cursor: Cursor, ad: StoredAd) -> list[str]:
    """The last ads that were compared and whose title has the same words."""
    key = title_key(ad.title)
    if key is None:
        return []
    values = {"catalog": ad.key.catalog, "title_key": key, "limit": LAST_OF_TITLE}
    cursor.execute(_OF_TITLE, values)
    return [ad_id for (ad_id,) in cursor if ad_id != ad.key.ad_id]


def nearest(database: Database, key: AdKey, photos: Sequence[bytes]) -> list[str]:
    """The ads of the catalog whose vectors are nearest; [] without a ready index.

    Raises:
        RetryableError: the server is unavailable.
    """
    try:
        with database.cursor() as cursor:
            row = cursor.execute(_INDEX).fetchone()
            if row is None:
                return []
            index = SearchIndex(*row)
            vector = cursor.execute(_VECTOR, (index.backbone, list(photos))).fetchone()
            if vector is None or vector[0] is None:
                return []
            filters = Filters(catalogs=[key.catalog], but_ad=(key.catalog, key.ad_id))
            running = steps(index, Query(vector[0], filters, NEAREST_ADS))
            statement = next(running)
            while True:
                rows = cursor.execute(*statement, prepare=False).fetchall()
                try:
                    statement = running.send(rows)
                except StopIteration as end:
                    return [found.ad_id for found in end.value.ads]
    except errors.UndefinedTable:  # the index was dropped meanwhile
        return []
