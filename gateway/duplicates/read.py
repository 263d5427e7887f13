"""Reads the duplicates of an ad, in one transaction.

Owns that only the present revisions of both ads are shown: an ad that is deleted or revised is in
no answer from its commit on, whatever the finder has.
"""

import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import psycopg

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.problems import Problem
from gateway.reads.ad_summaries import ad_summaries
from ops.types import AdKey
from resources.duplicates.groups import ACCEPTED

Connection = psycopg.AsyncConnection[Any]

_KIND = "duplicates"
_FIRST = (2.0, "")

_STATE = """
    SELECT a.status, a.revision, EXISTS (SELECT FROM lalafo.duplicate_search),
        (SELECT c.revision FROM lalafo.compared_ads AS c
            WHERE c.catalog = a.catalog AND c.ad_id = a.ad_id)
    FROM lalafo.ads AS a WHERE a.catalog = %(catalog)s AND a.ad_id = %(ad_id)s"""
_GROUP = """
    SELECT min(m.ad_id COLLATE "C"), count(*) FROM lalafo.ad_groups AS g
    JOIN lalafo.ad_groups AS m ON m.catalog = g.catalog AND m.group_id = g.group_id
    JOIN lalafo.ads AS a ON a.catalog = m.catalog AND a.ad_id = m.ad_id AND a.status = 'scored'
    WHERE g.catalog = %(catalog)s AND g.ad_id = %(ad_id)s"""
_SIDES = " UNION ALL ".join(
    f"SELECT p.{other} AS other_id, p.{other_revision} AS revision, p.verdict, "
    "p.probability::float8, p.reasons, l.same IS NOT NULL AS judged FROM lalafo.ad_pairs AS p "
    "LEFT JOIN lalafo.duplicate_labels AS l USING (catalog, ad_id, other_id) "
    f"WHERE p.catalog = %(catalog)s AND p.{own} = %(ad_id)s AND p.{revision} = %(revision)s "
    f"AND {ACCEPTED}"
    for own, other, revision, other_revision in (
        ("ad_id", "other_id", "revision", "other_revision"),
        ("other_id", "ad_id", "other_revision", "revision"),
    )
)
_PAIRS = f"""
    SELECT f.* FROM ({_SIDES}) AS f
    WHERE (f.probability < %(after)s OR f.probability = %(after)s
        AND f.other_id COLLATE "C" > %(after_id)s)
    AND EXISTS (SELECT FROM lalafo.ads AS a WHERE a.catalog = %(catalog)s
        AND a.ad_id = f.other_id AND a.revision = f.revision AND a.status = 'scored')
    ORDER BY f.probability DESC, f.other_id COLLATE "C" LIMIT %(limit)s"""
# The photos of both ads as they are now; those of the same bytes have no row in photo_pairs.
_PHOTOS = """
    SELECT o.ad_id, m.position, encode(m.sha256, 'hex'), o.position, encode(o.sha256, 'hex'),
        coalesce(p.verdict, 'exact'), coalesce(p.probability, 1)::float8,
        coalesce(p.changes, '{}'),
        CASE WHEN p.sha256 IS NULL THEN %(whole)s::jsonb
            WHEN p.sha256 = m.sha256 THEN p.region ELSE p.other_region END,
        CASE WHEN p.sha256 IS NULL THEN %(whole)s::jsonb
            WHEN p.sha256 = m.sha256 THEN p.other_region ELSE p.region END
    FROM lalafo.ad_photos AS m JOIN lalafo.ad_photos AS o
        ON o.catalog = m.catalog AND o.ad_id = ANY(%(others)s) AND o.sha256 IS NOT NULL
    LEFT JOIN lalafo.photo_pairs AS p ON p.sha256 = least(m.sha256, o.sha256)
        AND p.other_sha256 = greatest(m.sha256, o.sha256)
    WHERE m.catalog = %(catalog)s AND m.ad_id = %(ad_id)s AND m.sha256 IS NOT NULL
    AND (m.sha256 = o.sha256 OR p.sha256 IS NOT NULL)
    AND NOT EXISTS (SELECT FROM lalafo.common_photos AS c WHERE c.catalog = m.catalog
        AND c.sha256 IN (m.sha256, o.sha256))
    ORDER BY o.ad_id, array_position(ARRAY['exact', 'altered', 'same_thing'],
        coalesce(p.verdict, 'exact')), m.position, o.position"""
_WHOLE = "[[0, 0], [1, 0], [1, 1], [0, 1]]"


@repeated_once(repeatable=True)
async def read_duplicates(
    database: GatewayDatabase, key: AdKey, *, limit: int, cursor: str | None
) -> dict[str, Any]:
    """The duplicates of an ad, in the shape of `schemas.duplicates.DuplicatesPage`.

    Raises:
        Problem: 404, there is no such ad; 422, the cursor is not one of duplicates.
        RetryableError: PostgreSQL is unavailable, or too slow.
    """
    after, after_id = _position_at(cursor)
    values: dict[str, Any] = {
        **{"catalog": key.catalog, "ad_id": key.ad_id, "limit": limit + 1},
        **{"after": after, "after_id": after_id},
    }
    async with database.connection() as connection, connection.transaction():
        # All statements see one state of the tables.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = await (await connection.execute(_STATE, values)).fetchone()
        if row is None or row[0] == "deleted":
            raise Problem(
                404, "no_such_ad", f"there is no ad {key.ad_id!r} in the catalog {key.catalog!r}"
            )
        _, revision, is_on, compared = row
        answer: dict[str, Any] = {
            "ad": {"catalog": key.catalog, "ad_id": key.ad_id},
            "state": _state(is_on, revision, compared),
            **{"group": None, "duplicates": [], "next": None},
        }
        if not is_on:
            return answer
        first, ads = await _one(connection, _GROUP, values)
        if ads > 1:
            answer["group"] = {"id": {"catalog": key.catalog, "ad_id": first}, "ads": ads}
        pairs = await _all(connection, _PAIRS, {**values, "revision": revision})
        answer["duplicates"] = await _duplicates(connection, key, pairs[:limit])
        if len(pairs) > limit:
            answer["next"] = _cursor_at(pairs[limit - 1][3], pairs[limit - 1][0])
        return answer


def _state(is_on: bool, revision: int, compared: int | None) -> str:
    if not is_on:
        return "off"
    return "decided" if compared == revision else "waiting"


async def _duplicates(
    connection: Connection, key: AdKey, pairs: Sequence[tuple[Any, ...]]
) -> list[dict[str, Any]]:
    if not pairs:
        return []
    found = [(AdKey(key.catalog, pair[0]), pair[1]) for pair in pairs]
    summaries = await ad_summaries(connection, found)
    values = {"catalog": key.catalog, "ad_id": key.ad_id, "whole": _WHOLE}
    values["others"] = [other.ad_id for other, _ in found]  # type: ignore[assignment]
    photos: dict[str, list[dict[str, Any]]] = {}
    for ad_id, *photo in await _all(connection, _PHOTOS, values):
        names = ("position", "sha256", "other_position", "other_sha256", "verdict")
        more = ("probability", "changes", "region", "other_region")
        photos.setdefault(ad_id, []).append(dict(zip((*names, *more), photo, strict=True)))
    return [
        {
            **summaries[other],
            "verdict": verdict,
            "probability": round(probability, 6),
            "judged_by_person": judged,
            "reasons": [{"outcome": outcome, "weight": weight} for outcome, weight in reasons],
            "photos": _best(photos.get(other.ad_id, [])),
        }
        for (other, _), (_, _, verdict, probability, reasons, judged) in zip(
            found, pairs, strict=True
        )
        if other in summaries
    ]


def _best(matches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without likenesses of photos that are a copy of another one: the copy says it all."""
    copies = [it for it in matches if it["verdict"] != "same_thing"]
    own, other = ({it[name] for it in copies} for name in ("sha256", "other_sha256"))
    return [
        it
        for it in matches
        if it["verdict"] != "same_thing" or not (it["sha256"] in own or it["other_sha256"] in other)
    ]


async def _one(connection: Connection, query: str, values: dict[str, Any]) -> tuple[Any, ...]:
    return (await _all(connection, query, values))[0]


async def _all(connection: Connection, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, values)).fetchall()


def _cursor_at(probability: float, ad_id: str) -> str:
    text = json.dumps([_KIND, probability, ad_id], ensure_ascii=False, separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _position_at(cursor: str | None) -> tuple[float, str]:
    if cursor is None:
        return _FIRST
    try:
        kind, probability, ad_id = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        ad_id.encode()  # a text, without lone surrogates
        valid = (
            kind == _KIND
            and type(probability) is float
            and math.isfinite(probability)
            and "\x00" not in ad_id
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise Problem(
            422,
            "bad_cursor",
            "this is no cursor of duplicates; send `next` of the previous page unchanged, or omit "
            "it",
        )
    return probability, ad_id
