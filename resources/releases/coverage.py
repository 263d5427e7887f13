"""Coverage of a release: the days whose ads it has scored completely, and its unscored days.

When a release becomes active, every day that has ads is opened; ads committed later always have
its predictions. `close_complete_days` closes a day: it waits for the commits in progress that
could not see what the re-score wrote, and then checks every ad of the day. A closed day stays
closed, unless its predictions are deleted; then the same transaction opens it again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from ops.scoring.switched_off import NONE_OFF, SwitchedOff
from ops.tasks import Lane, all_tasks
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease

Cursor = psycopg.Cursor[Any]

# A loose index scan on `day`: its cost grows with the number of days, not of ads.
_DAYS_WITH_ADS = (
    "WITH RECURSIVE walk (day) AS ((SELECT min(day) FROM lalafo.ads) UNION ALL "
    "SELECT (SELECT min(a.day) FROM lalafo.ads AS a WHERE a.day > walk.day) FROM walk "
    "WHERE walk.day IS NOT NULL) SELECT day FROM walk WHERE day IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class DayState:
    """What is still missing on one day under a release."""

    day: date
    ads: int  # that have usable photos
    unscored: int  # of these ads, without a prediction of their revision in a task they need
    unembedded: int  # of their photos, without an embedding under the release's backbone

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.unscored == 0 and self.unembedded == 0


@dataclass(frozen=True, slots=True)
class Coverage:
    """The coverage of a release."""

    release: str
    days: int  # that had ads when it became active
    unscored: tuple[date, ...]  # of these days, ascending

    @property
    def complete(self) -> bool:
        """Whether no day is unscored."""
        return not self.unscored


def open_days(cursor: Cursor, release: str, days: Sequence[date] | None = None) -> None:
    """Open days of a release as unscored: the given ones, or every day that has ads."""
    source = _DAYS_WITH_ADS if days is None else "SELECT unnest(%(days)s::date[])"
    cursor.execute(
        "INSERT INTO lalafo.release_days (release, day) "
        f"SELECT %(release)s, day FROM ({source}) AS found (day) ORDER BY day "
        "ON CONFLICT (release, day) DO UPDATE SET completed_at = NULL",
        {"release": release, "days": None if days is None else list(days)},
    )


def reopen_day(cursor: Cursor, day: date) -> None:
    """Open a day again for every active release, because an ad of it lost its predictions."""
    cursor.execute(
        "INSERT INTO lalafo.release_days (release, day) "
        "SELECT r.name, %s FROM lalafo.active_releases AS f "
        "JOIN lalafo.releases AS r ON r.name IN (f.live, f.candidate, f.previous) "
        "ORDER BY r.name ON CONFLICT (release, day) DO UPDATE SET completed_at = NULL",
        (day,),
    )


def unscored_days(cursor: Cursor, release: str) -> tuple[date, ...]:
    """Return the unscored days of a release, ascending."""
    cursor.execute(
        "SELECT day FROM lalafo.release_days WHERE release = %s AND completed_at IS NULL "
        "ORDER BY day",
        (release,),
    )
    return tuple(row[0] for row in cursor.fetchall())


def read_coverage(database: Database, release: str) -> Coverage:
    """Return the coverage of a release; its cost does not grow with the catalogue."""
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.release_days WHERE release = %s", (release,))
        (count,) = cursor.fetchall()[0]
        return Coverage(release, int(count), unscored_days(cursor, release))


def wait_for_commits(database: Database) -> None:
    """Wait until every commit in progress has ended; new ones wait for a moment.

    Queries that start afterwards see the rows of these commits.
    """
    with database.cursor() as cursor:
        cursor.execute("SELECT FROM lalafo.active_releases FOR UPDATE")


def close_complete_days(
    database: Database,
    release: RegisteredRelease,
    days: Sequence[date],
    off: SwitchedOff = NONE_OFF,
) -> tuple[DayState, ...]:
    """Close those of the days that are complete under the release; return the state of each.

    An ad needs a prediction in each task of the release that is not off in its catalog. One that
    waits for its tasks after the path needs the others alone: the worker answers them under all
    active releases at once, so that an ad has either all of these answers or none.

    First deletes predictions of ads that a newer event changed while they were written. Call it
    after a re-score of the days has written all its predictions.
    """
    if not days:
        return ()
    wait_for_commits(database)
    with database.cursor() as cursor:
        # A transaction that reopens one of these days waits for this one, or is visible to it.
        cursor.execute(
            "SELECT FROM lalafo.release_days WHERE release = %s AND day = ANY(%s) "
            "ORDER BY day FOR UPDATE",
            (release.name, list(days)),
        )
        cursor.execute(
            "DELETE FROM lalafo.predictions AS p USING lalafo.ads AS a "
            "WHERE a.day = ANY(%s) AND p.release = %s AND p.catalog = a.catalog "
            "AND p.ad_id = a.ad_id AND (p.revision <> a.revision OR a.status <> 'scored')",
            (list(days), release.name),
        )
        states = tuple(_state(cursor, release, day, off) for day in sorted(days))
        cursor.execute(
            "UPDATE lalafo.release_days SET completed_at = now() "
            "WHERE release = %s AND day = ANY(%s)",
            (release.name, [state.day for state in states if state.complete]),
        )
    return states


def _state(cursor: Cursor, release: RegisteredRelease, day: date, off: SwitchedOff) -> DayState:
    named = sorted({it for task in release.tasks for it in off.catalogs(task)})
    counts = [
        _unscored(
            cursor,
            release.name,
            day,
            [task for task in release.tasks if not off(task, catalog)],
            *("a.catalog = %(catalog)s", {"catalog": catalog}),
        )
        for catalog in named
    ]
    everywhere = [task for task in release.tasks if not off.everywhere(task)]
    others = ("a.catalog <> ALL(%(named)s)", {"named": named}) if named else ("true", {})
    counts.append(_unscored(cursor, release.name, day, everywhere, *others))
    ads, unscored = (sum(column) for column in zip(*counts, strict=True))
    cursor.execute(
        "SELECT count(DISTINCT ap.sha256) FROM lalafo.ads AS a "
        "JOIN lalafo.ad_photos AS ap USING (catalog, ad_id) "
        "WHERE a.day = %s AND a.status = 'scored' AND ap.sha256 IS NOT NULL "
        "AND NOT EXISTS (SELECT FROM lalafo.embeddings AS e "
        "WHERE e.backbone = %s AND e.sha256 = ap.sha256)",
        (day, release.backbone),
    )
    return DayState(day, ads, unscored, cursor.fetchall()[0][0])


_PREDICTED = (
    "(SELECT count(*) FROM lalafo.predictions AS p WHERE p.release = %(release)s "
    "AND p.catalog = a.catalog AND p.ad_id = a.ad_id AND p.task = ANY({tasks}) "
    "AND p.revision = a.revision)"
)
_WAITING = (
    " AND NOT (EXISTS (SELECT FROM lalafo.deferred_ads AS d WHERE d.catalog = a.catalog "
    "AND d.ad_id = a.ad_id AND d.revision = a.revision) "
    f"AND {_PREDICTED.format(tasks='%(on_path)s')} = %(on_path_count)s)"
)


def _unscored(
    cursor: Cursor,
    release: str,
    day: date,
    tasks: Sequence[str],
    of: str,
    values: Mapping[str, Any],
) -> tuple[int, int]:
    """The day's ads with photos, and those that lack a prediction in one of the tasks.

    Args:
        of: a condition for the ads, with these values.
    """
    late = {task.name for task in all_tasks() if task.lane is Lane.AFTER}
    on_path = [task for task in tasks if task not in late]
    missing = f"{_PREDICTED.format(tasks='%(tasks)s')} < %(count)s"
    if len(on_path) < len(tasks):
        missing += _WAITING
    cursor.execute(
        f"SELECT count(*), count(*) FILTER (WHERE {missing}) FROM lalafo.ads AS a "
        f"WHERE a.day = %(day)s AND a.status = 'scored' AND {of}",
        {
            "release": release,
            "day": day,
            "tasks": list(tasks),
            "count": len(tasks),
            "on_path": on_path,
            "on_path_count": len(on_path),
            **values,
        },
    )
    ads, unscored = cursor.fetchall()[0]
    return ads, unscored


@dataclass(frozen=True, slots=True)
class ReleaseCoverage:
    """The coverage of an active release, with the days on both sides."""

    release: str
    role: str  # live, candidate, previous
    complete: tuple[date, ...]
    unscored: tuple[date, ...]


def read_release_coverage(database: Database) -> list[ReleaseCoverage]:
    """Return the coverage of each active release, the live one first; [] if none is live."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT r.name, r.role, "
            "coalesce(array_agg(d.day ORDER BY d.day) FILTER (WHERE d.completed_at IS NOT NULL), "
            "'{}'), "
            "coalesce(array_agg(d.day ORDER BY d.day) FILTER (WHERE d.day IS NOT NULL "
            "AND d.completed_at IS NULL), '{}') FROM lalafo.active_releases AS f, "
            "unnest(ARRAY[f.live, f.candidate, f.previous], "
            "ARRAY['live', 'candidate', 'previous']) AS r (name, role) "
            "LEFT JOIN lalafo.release_days AS d ON d.release = r.name "
            "WHERE r.name IS NOT NULL GROUP BY 1, 2"
        )
        rows = cursor.fetchall()
    releases = [
        ReleaseCoverage(name, role, tuple(complete), tuple(unscored))
        for name, role, complete, unscored in rows
    ]
    order = ("live", "candidate", "previous")
    return sorted(releases, key=lambda coverage: order.index(coverage.role))
