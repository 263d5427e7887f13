"""Figures of duplicates, and the groups of a day, for people and for Dagster."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from resources.changes.metrics import Queue
from resources.duplicates.groups import ACCEPTED
from resources.postgres.database import Database

_FIGURES = f"""
    SELECT (SELECT greatest(reltuples, 0)::bigint FROM pg_class
            WHERE oid = 'lalafo.compared_ads'::regclass),
        (SELECT count(*) FROM lalafo.ad_pairs AS p LEFT JOIN lalafo.duplicate_labels AS l
            USING (catalog, ad_id, other_id) WHERE {ACCEPTED}),
        count(*), count(DISTINCT (g.catalog, g.group_id)),
        (SELECT count(*) FROM lalafo.common_photos)
    FROM lalafo.ad_groups AS g"""
_WAITING = (
    "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(queued_at)), 0)::float8 "
    "FROM lalafo.duplicate_changes"
)
_MIDNIGHT = "%(day)s::date::timestamp AT TIME ZONE 'UTC'"
_OF_DAY = f"{{0}} >= {_MIDNIGHT} AND {{0}} < {_MIDNIGHT} + interval '1 day'"
# A group is of the day on which an ad of it came last; its first photos are shown.
_GROUPS = f"""
    SELECT r.rendition_sha256, m.ad_id, found.number
    FROM (SELECT catalog, group_id, row_number() OVER (ORDER BY max(since) DESC) AS number
        FROM lalafo.ad_groups AS g WHERE {_OF_DAY.format("g.since")}
        GROUP BY catalog, group_id ORDER BY max(since) DESC LIMIT %(groups)s) AS found
    CROSS JOIN LATERAL (SELECT ad_id FROM lalafo.ad_groups AS m
        WHERE m.catalog = found.catalog AND m.group_id = found.group_id
        ORDER BY ad_id LIMIT %(ads)s) AS m
    CROSS JOIN LATERAL (SELECT p.sha256 FROM lalafo.ad_photos AS p
        WHERE p.catalog = found.catalog AND p.ad_id = m.ad_id AND p.sha256 IS NOT NULL
        ORDER BY p.position LIMIT 1) AS first
    JOIN lalafo.photos AS r USING (sha256)
    ORDER BY found.number, m.ad_id"""
_RAISED = f"""
    SELECT p.catalog, p.ad_id, p.other_id, p.verdict, p.probability::float8,
        count(*) OVER () AS of_all
    FROM lalafo.ad_pairs AS p WHERE {_OF_DAY.format("p.raised_at")}
    ORDER BY p.raised_at DESC LIMIT %(pairs)s"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is stored. The number of compared ads is PostgreSQL's estimate."""

    compared: int
    pairs: int  # accepted
    grouped: int  # ads
    groups: int
    common_photos: int
    waiting: int  # changes in the queue
    oldest_s: float  # 0: the queue is empty


@dataclass(frozen=True, slots=True)
class RaisedPair:
    """Two ads of different sellers with one photo."""

    catalog: str
    ad_id: str
    other_id: str
    verdict: str
    probability: float


def figures(database: Database) -> Figures:
    """The figures of all catalogs."""
    with database.cursor() as cursor:
        stored = cursor.execute(_FIGURES).fetchall()[0]
        return Figures(*stored, *cursor.execute(_WAITING).fetchall()[0])


def queue(database: Database) -> Queue:
    """How many changes wait, and for how long the first one has."""
    with database.statement() as cursor:
        return Queue(*cursor.execute(_WAITING).fetchall()[0])


def groups_of_day(
    database: Database, day: date, *, groups: int, ads: int
) -> list[tuple[bytes, str]]:
    """(rendition's SHA-256, caption) of the first photos of the day's latest groups, by group.

    Args:
        day: UTC.
        ads: the most of a group.
    """
    with database.cursor() as cursor:
        cursor.execute(_GROUPS, {"day": day, "groups": groups, "ads": ads})
        return [(bytes(sha256), f"group {n}\n{ad}") for sha256, ad, n in cursor.fetchall()]


def raised_on(database: Database, day: date, *, pairs: int) -> tuple[int, Sequence[RaisedPair]]:
    """How many pairs of ads of different sellers were found on a day (UTC), and the last ones."""
    with database.cursor() as cursor:
        rows = cursor.execute(_RAISED, {"day": day, "pairs": pairs}).fetchall()
    return (rows[0][-1] if rows else 0), [RaisedPair(*row[:-1]) for row in rows]
