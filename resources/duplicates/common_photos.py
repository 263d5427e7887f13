"""Photos that more ads of a catalog have than can be of one thing: makers' pictures, placeholders.

A photo's copies count as the photo: a placeholder is encoded anew with each upload. A photo that
becomes common, or no longer is, makes its ads be looked at again; so what is stored does not depend
on the order in which ads came.
"""

from collections.abc import Collection
from typing import Any

import psycopg

from ops.duplicates.ads.groups import MOST_ADS
from resources.duplicates import changes

Cursor = psycopg.Cursor[Any]

MOST_COPIES = 100
_COPIES = """
    (SELECT other_sha256 AS sha256 FROM lalafo.photo_pairs
        WHERE sha256 = {of} AND verdict <> 'same_thing' LIMIT %(copies)s)
    UNION ALL (SELECT sha256 FROM lalafo.photo_pairs
        WHERE other_sha256 = {of} AND verdict <> 'same_thing' LIMIT %(copies)s)"""
_NEIGHBOURS = f"""
    SELECT copy.sha256 FROM unnest(%(photos)s::bytea[]) AS given (sha256)
    CROSS JOIN LATERAL ({_COPIES.format(of="given.sha256")}) AS copy"""
# Each look-up ends with the first rows that suffice.
_COUNTED = f"""
    SELECT given.sha256,
        (SELECT count(DISTINCT used.ad_id) FROM (
            SELECT given.sha256 UNION ALL {_COPIES.format(of="given.sha256")}) AS copy (sha256)
            CROSS JOIN LATERAL (SELECT p.ad_id FROM lalafo.ad_photos AS p
                WHERE p.sha256 = copy.sha256 AND p.catalog = %(catalog)s
                LIMIT %(most)s) AS used) > %(ads)s,
        EXISTS (SELECT FROM lalafo.common_photos AS c
            WHERE c.catalog = %(catalog)s AND c.sha256 = given.sha256)
    FROM unnest(%(photos)s::bytea[]) AS given (sha256)
    WHERE EXISTS (SELECT FROM lalafo.photos AS h WHERE h.sha256 = given.sha256)
    ORDER BY given.sha256"""
_ADD = """
    INSERT INTO lalafo.common_photos (catalog, sha256)
    SELECT %s, held.sha256 FROM lalafo.photos AS held WHERE held.sha256 = ANY(%s)
    ORDER BY held.sha256 FOR KEY SHARE ON CONFLICT DO NOTHING"""
_REMOVE = "DELETE FROM lalafo.common_photos WHERE catalog = %s AND sha256 = ANY(%s)"
_USERS = """
    SELECT DISTINCT p.ad_id FROM unnest(%(photos)s::bytea[]) AS given (sha256)
    CROSS JOIN LATERAL (SELECT p.ad_id FROM lalafo.ad_photos AS p WHERE p.sha256 = given.sha256
        AND p.catalog = %(catalog)s) AS p
    JOIN lalafo.compared_ads AS c ON c.catalog = %(catalog)s AND c.ad_id = p.ad_id
    WHERE c.ad_id <> %(ad_id)s AND (given.sha256 = ANY(c.common)) <> %(common)s"""


def recount(cursor: Cursor, catalog: str, ad_id: str, photos: Collection[bytes]) -> bool:
    """Count the ads of these photos and of their copies again.

    Queues the ads of those that became common, or no longer are.

    Args:
        ad_id: the ad that is being looked at; it is not queued.

    Returns:
        Whether one of `photos` itself became common or no longer is.
    """
    if not photos:
        return False
    values: dict[str, Any] = {
        **{"catalog": catalog, "ads": MOST_ADS, "copies": MOST_COPIES},
        # A photo at several positions has a row for each.
        **{"photos": list(photos), "most": 4 * MOST_ADS},
    }
    cursor.execute(_NEIGHBOURS, values)
    near = {bytes(sha256) for (sha256,) in cursor}
    values["photos"] = sorted({*photos, *near})
    cursor.execute(_COUNTED, values)
    rows = [(bytes(sha256), is_common, was) for sha256, is_common, was in cursor]
    changed: set[bytes] = set()
    for common, statement in ((True, _ADD), (False, _REMOVE)):
        turned = [sha256 for sha256, now, was in rows if now != was and now == common]
        if turned:
            cursor.execute(statement, (catalog, turned))
            cursor.execute(
                _USERS, {"catalog": catalog, "photos": turned, "ad_id": ad_id, "common": common}
            )
            changes.queue(cursor, catalog, [user for (user,) in cursor.fetchall()])
            changed |= set(turned)
    return not changed.isdisjoint(photos)
