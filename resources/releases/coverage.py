"""What a release owes: the days whose ads it has not all scored.

When a release comes in force, every day that has ads is opened; what is committed later has its
predictions by construction. A day is closed by `settle`, which looks at every ad of it once no
commit is under way that could not see what the re-score wrote; a closed day stays so, unless
somebody takes predictions away and opens it again in the same transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease

Cursor = psycopg.Cursor[Any]

# A walk along the index on `day`: as many steps as days, however many ads.
_DAYS_WITH_ADS = (
    "WITH RECURSIVE walk (day) AS ((SELECT min(day) FROM lalafo.ads) UNION ALL "
    "SELECT (SELECT min(a.day) FROM lalafo.ads AS a WHERE a.day > walk.day) FROM walk "
    "WHERE walk.day IS NOT NULL) SELECT day FROM walk WHERE day IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class DayState:
    """What a day still owes a release."""

    day: date
    ads: int  # that have usable photos
    unscored: int  # of them, without a prediction of their revision in some task
    unembedded: int  # photos of them without an embedding under the release's backbone

    @property
    def complete(self) -> bool:
        """Whether nothing is owed."""
        return self.unscored == 0 and self.unembedded == 0


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a release is."""

    release: str
    days: int  # that had ads when it came in force
    unscored: tuple[date, ...]  # of them, ascending

    @property
    def complete(self) -> bool:
        """Whether nothing is owed."""
        return not self.unscored


def open_days(cursor: Cursor, release: str, days: Sequence[date] | None = None) -> None:
    """Owe days to a release: those given, or every day that has ads."""
    source = _DAYS_WITH_ADS if days is None else "SELECT unnest(%(days)s::date[])"
    cursor.execute(
        "INSERT INTO lalafo.release_days (release, day) "
        f"SELECT %(release)s, day FROM ({source}) AS found (day) ORDER BY day "
        "ON CONFLICT (release, day) DO UPDATE SET completed_at = NULL",
        {"release": release, "days": None if days is None else list(days)},
    )


def reopen_day(cursor: Cursor, day: date) -> None:
    """Owe a day to every release in force: predictions of one of its ads were taken away."""
    cursor.execute(
        "INSERT INTO lalafo.release_days (release, day) "
        "SELECT r.name, %s FROM lalafo.active_releases AS f "
        "JOIN lalafo.releases AS r ON r.name IN (f.live, f.candidate, f.previous) "
        "ORDER BY r.name ON CONFLICT (release, day) DO UPDATE SET completed_at = NULL",
        (day,),
    )


def unscored_days(cursor: Cursor, release: str) -> tuple[date, ...]:
    """The days that a release owes, ascending."""
    cursor.execute(
        "SELECT day FROM lalafo.release_days WHERE release = %s AND completed_at IS NULL "
        "ORDER BY day",
        (release,),
    )
    return tuple(row[0] for row in cursor.fetchall())


def read_coverage(database: Database, release: str) -> Coverage:
    """How far a release is; cheap, however large the catalogue."""
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.release_days WHERE release = %s", (release,))
        (count,) = cursor.fetchall()[0]
        return Coverage(release, int(count), unscored_days(cursor, release))


def wait_for_commits(database: Database) -> None:
    """Return once every commit that was under way has ended; new ones wait for an instant.

    What is read afterwards sees the rows of each of them.
    """
    with database.cursor() as cursor:
        cursor.execute("SELECT FROM lalafo.active_releases FOR UPDATE")


def settle(
    database: Database, release: RegisteredRelease, days: Sequence[date]
) -> tuple[DayState, ...]:
    """Close those of the days that the release owes nothing any more; how each stands.

    First removes predictions that a fresher event has overtaken while they were written. Call it
    when a re-score of the days has written all it had.
    """
    if not days:
        return ()
    wait_for_commits(database)
    with database.cursor() as cursor:
        # Whoever opens one of these days again waits for our verdict, or we see what they did.
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
        states = tuple(_state(cursor, release, day) for day in sorted(days))
        cursor.execute(
            "UPDATE lalafo.release_days SET completed_at = now() "
            "WHERE release = %s AND day = ANY(%s)",
            (release.name, [state.day for state in states if state.complete]),
        )
    return states


def _state(cursor: Cursor, release: RegisteredRelease, day: date) -> DayState:
    cursor.execute(
        "SELECT count(*), count(*) FILTER (WHERE (SELECT count(*) FROM lalafo.predictions AS p "
        "WHERE p.release = %s AND p.catalog = a.catalog AND p.ad_id = a.ad_id "
        "AND p.task = ANY(%s) AND p.revision = a.revision) < %s) "
        "FROM lalafo.ads AS a WHERE a.day = %s AND a.status = 'scored'",
        (release.name, list(release.tasks), len(release.tasks), day),
    )
    ads, unscored = cursor.fetchall()[0]
    cursor.execute(
        "SELECT count(DISTINCT ap.sha256) FROM lalafo.ads AS a "
        "JOIN lalafo.ad_photos AS ap USING (catalog, ad_id) "
        "WHERE a.day = %s AND a.status = 'scored' AND ap.sha256 IS NOT NULL "
        "AND NOT EXISTS (SELECT FROM lalafo.embeddings AS e "
        "WHERE e.backbone = %s AND e.sha256 = ap.sha256)",
        (day, release.backbone),
    )
    return DayState(day, ads, unscored, cursor.fetchall()[0][0])


@dataclass(frozen=True, slots=True)
class ReleaseCoverage:
    """How far a release in force is."""

    release: str
    role: str  # live, candidate, previous
    complete: tuple[date, ...]
    unscored: tuple[date, ...]


def read_scores(database: Database) -> list[ReleaseCoverage]:
    """How far each release in force is, the live one first; none where none is live."""
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
    found = [
        ReleaseCoverage(name, role, tuple(done), tuple(unscored))
        for name, role, done, unscored in rows
    ]
    order = ("live", "candidate", "previous")
    return sorted(found, key=lambda coverage: order.index(coverage.role))
