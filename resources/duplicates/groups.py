"""The groups of ads that are the same, in PostgreSQL, as `AdGroups` has them in memory.

A pair connects its ads if a person says so, or if its probability does and nobody denies it. Only
the groups around the ads that have changed are read and written.
"""

from collections.abc import Collection, Iterable
from typing import Any

import psycopg

from ops.duplicates.ads.ad_pairs import SAME_AD

Cursor = psycopg.Cursor[Any]

ACCEPTED = f"coalesce(l.same, p.probability >= {SAME_AD})"
"""Whether a pair `p` is one ad, with the label `l` of a person, if there is one."""

_MEMBERS = """
    SELECT m.ad_id, m.group_id FROM (SELECT DISTINCT group_id FROM lalafo.ad_groups
        WHERE catalog = %(catalog)s AND ad_id = ANY(%(ads)s)) AS touched
    CROSS JOIN LATERAL (SELECT ad_id, group_id FROM lalafo.ad_groups AS g
        WHERE g.catalog = %(catalog)s AND g.group_id = touched.group_id) AS m"""
_JOINED = " UNION ALL ".join(
    f"SELECT p.ad_id, p.other_id FROM lalafo.ad_pairs AS p "
    "LEFT JOIN lalafo.duplicate_labels AS l USING (catalog, ad_id, other_id) "
    f"WHERE p.catalog = %(catalog)s AND p.{side} = ANY(%(ads)s) AND {ACCEPTED}"
    for side in ("ad_id", "other_id")
)
_LEAVE = "DELETE FROM lalafo.ad_groups WHERE catalog = %s AND ad_id = ANY(%s)"
_JOIN = """
    INSERT INTO lalafo.ad_groups AS held (catalog, ad_id, group_id)
    SELECT %s, new.* FROM unnest(%s::text[], %s::text[]) AS new
    ON CONFLICT (catalog, ad_id) DO UPDATE SET group_id = EXCLUDED.group_id, since = now()
    WHERE held.group_id <> EXCLUDED.group_id"""


def regroup(cursor: Cursor, catalog: str, changed: Collection[str]) -> None:
    """Group anew what hangs together with these ads, now or before.

    A repeated call changes nothing. Its cost is that of the groups it touches.
    """
    cursor.execute(_MEMBERS, {"catalog": catalog, "ads": list(changed)})
    before: dict[str, str] = dict(cursor.fetchall())
    groups = _groups(cursor, catalog, {*changed, *before})
    now = {ad_id: first for first, members in groups.items() for ad_id in members}
    left = sorted(before.keys() - now.keys())
    if left:
        cursor.execute(_LEAVE, (catalog, left))
    moved = sorted(ad_id for ad_id, first in now.items() if before.get(ad_id) != first)
    if moved:
        cursor.execute(_JOIN, (catalog, moved, [now[ad_id] for ad_id in moved]))


def _groups(cursor: Cursor, catalog: str, ads: Collection[str]) -> dict[str, list[str]]:
    """The groups of these ads, and of all that are connected with them, by their smallest ad."""
    pairs: list[tuple[str, str]] = []
    known, waiting = set[str](), set(ads)
    while waiting:
        known |= waiting
        cursor.execute(_JOINED, {"catalog": catalog, "ads": list(waiting)})
        found = cursor.fetchall()
        pairs += found
        waiting = {ad_id for pair in found for ad_id in pair} - known
    return components(pairs)


def components(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The connected components of pairs, by their smallest member."""
    parents: dict[str, str] = {}

    def first_of(ad_id: str) -> str:
        above = parents.setdefault(ad_id, ad_id)
        while above != parents[above]:
            parents[ad_id] = above = parents[parents[above]]
        return above

    for pair in pairs:
        one, other = sorted(map(first_of, pair))
        parents[other] = one
    found: dict[str, list[str]] = {}
    for ad_id in list(parents):
        found.setdefault(first_of(ad_id), []).append(ad_id)
    return found
