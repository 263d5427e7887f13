"""The progress of a re-score in days and ads, cheap enough to read twice a second.

The number of closed days is exact. The number of ads in open days is PostgreSQL's estimate of the
rows in the release's partition, because counting millions of rows would slow the re-score down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Self

from resources.postgres.database import Database
from resources.releases.coverage import read_coverage
from resources.releases.registry import RegisteredRelease, partition_name

COUNTED_BYTES = 8 * 2**20
"""Partitions up to this size are counted exactly: tens of thousands of rows, some milliseconds."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a re-score at one moment."""

    days: int  # that were unscored when the watch began
    days_done: int
    ads: int  # of those days
    ads_done: int  # at least the ads of the days done


@dataclass(frozen=True, slots=True)
class Watch:
    """One release's re-score, observed from a moment on."""

    release: RegisteredRelease
    ads_by_day: dict[date, int]  # of the days unscored at that moment
    rows_before: int

    @classmethod
    def begin(cls, database: Database, release: RegisteredRelease) -> Self:
        """Start to observe a release's unscored days."""
        unscored = read_coverage(database, release.name).unscored
        return cls(release, ads_by_day(database, unscored), estimated_rows(database, release))

    def read(self, database: Database) -> Progress:
        """Return the current progress."""
        unscored = set(read_coverage(database, self.release.name).unscored)
        ads = sum(self.ads_by_day.values())
        closed = sum(count for day, count in self.ads_by_day.items() if day not in unscored)
        written = estimated_rows(database, self.release) - self.rows_before
        seen = written // max(1, len(self.release.tasks))
        return Progress(
            days=len(self.ads_by_day),
            days_done=len(self.ads_by_day.keys() - unscored),
            ads=ads,
            ads_done=max(closed, min(ads, seen)) if unscored else ads,
        )


def ads_by_day(database: Database, days: Sequence[date]) -> dict[date, int]:
    """Return the number of ads with usable photos by day."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT d.day, count(a.ad_id) FROM unnest(%s::date[]) AS d (day) "
            "LEFT JOIN lalafo.ads AS a ON a.day = d.day AND a.status = 'scored' GROUP BY 1",
            (list(days),),
        )
        return dict(cursor.fetchall())


def estimated_rows(database: Database, release: RegisteredRelease) -> int:
    """Return the number of stored predictions of a release.

    Counted if the partition is small (COUNTED_BYTES), else PostgreSQL's statistics estimate, which
    is slightly behind.
    """
    name = partition_name(release.digest)
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT n_live_tup, pg_relation_size(relid) FROM pg_stat_user_tables "
            "WHERE schemaname = 'lalafo' AND relname = %s",
            (name,),
        )
        row = cursor.fetchone()
        if row is None:
            return 0
        estimate, size = row
        if size > COUNTED_BYTES:
            return int(estimate)
        cursor.execute(
            "SELECT count(*) FROM lalafo.predictions WHERE release = %s", (release.name,)
        )
        return int(cursor.fetchall()[0][0])


def remaining_s(database: Database, release: str, since: datetime) -> float | None:
    """Estimate the seconds until no day is unscored, from the rate since a moment.

    Returns None before the first day is closed.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE completed_at >= %s), "
            "count(*) FILTER (WHERE completed_at IS NULL) "
            "FROM lalafo.release_days WHERE release = %s",
            (since, release),
        )
        closed, unscored = cursor.fetchall()[0]
    elapsed_s = (datetime.now(UTC) - since).total_seconds()
    return None if closed == 0 else elapsed_s / closed * unscored
