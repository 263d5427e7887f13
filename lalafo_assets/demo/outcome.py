"""What became of a demo's ads, asked of PostgreSQL, and shown.

Decides what counts as accounted for: every event published is an ad or a dead letter.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.table import Table

from resources.database import Database

TIMINGS_S = 5.0


@dataclass(frozen=True, slots=True)
class Counts:
    """How far the stream is with one catalog."""

    ads: int
    photos: int
    photos_failed: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a demo."""

    published: int
    statuses: dict[str, int]  # ads
    photos: int
    photo_failures: dict[str, int]  # by reason
    dead_letters: dict[str, int]  # by reason
    labelled: int  # ads with a label and a prediction
    right: int
    latency: "Latency | None"  # of all ads
    warm: "Latency | None"  # of those that came while a session was at work
    runs: int

    @property
    def accounted_for(self) -> int:
        return sum(self.statuses.values()) + sum(self.dead_letters.values())


@dataclass(frozen=True, slots=True)
class Latency:
    """Kafka timestamp to committed row, milliseconds."""

    ads: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    def __str__(self) -> str:
        return f"{self.p50_ms:,.0f} / {self.p99_ms:,.0f} ms ({self.ads} ads)"


def read_counts(database: Database, catalog: str, stream_id: str, since: datetime) -> Counts:
    """Ads, photos and dead letters of this demo so far."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM lalafo.ads WHERE catalog = %(c)s), "
            "count(*), count(reason), (SELECT count(*) FROM lalafo.failures WHERE kind = 'event' "
            "AND stream_id = %(s)s AND failed_at >= %(t)s) "
            "FROM lalafo.ad_photos WHERE catalog = %(c)s",
            {"c": catalog, "s": stream_id, "t": since},
        )
        row = cursor.fetchone()
        assert row is not None
        return Counts(*row)


def read_outcome(
    database: Database, catalog: str, stream_id: str, since: datetime, published: int
) -> Outcome:
    """Everything that the closing table shows."""
    values = {"c": catalog, "s": stream_id, "t": since}
    with database.cursor() as cursor:

        def pairs(query: str) -> dict[str, int]:
            cursor.execute(query, values)
            return dict(cursor.fetchall())

        def one(query: str) -> tuple[int, ...]:
            cursor.execute(query, values)
            row = cursor.fetchone()
            assert row is not None
            return tuple(row)

        return Outcome(
            published=published,
            statuses=pairs(
                "SELECT status, count(*) FROM lalafo.ads WHERE catalog = %(c)s GROUP BY 1"
            ),
            photos=one("SELECT count(*) FROM lalafo.ad_photos WHERE catalog = %(c)s")[0],
            photo_failures=pairs(
                "SELECT reason, count(*) FROM lalafo.failures "
                "WHERE kind = 'photo' AND catalog = %(c)s GROUP BY 1 ORDER BY 2 DESC, 1"
            ),
            dead_letters=pairs(
                "SELECT reason, count(*) FROM lalafo.failures WHERE kind = 'event' "
                "AND stream_id = %(s)s AND failed_at >= %(t)s GROUP BY 1 ORDER BY 2 DESC, 1"
            ),
            **_accuracy(one),
            latency=_latency(database, values, "true"),
            warm=_latency(
                database,
                values,
                "t.kafka_at >= (SELECT min(acquired_at) FROM lalafo.leases "
                "WHERE stream_id = %(s)s)",
            ),
            runs=one("SELECT count(DISTINCT run_id) FROM lalafo.ads WHERE catalog = %(c)s")[0],
        )


def _accuracy(one: "object") -> dict[str, int]:
    assert callable(one)
    labelled, right = one(
        "SELECT count(*), count(*) FILTER (WHERE p.label = a.category) FROM lalafo.ads AS a "
        "JOIN lalafo.predictions AS p USING (catalog, ad_id) "
        "JOIN lalafo.releases_in_force AS f ON p.release = f.live "
        "WHERE a.catalog = %(c)s AND p.task = 'category' AND a.category IS NOT NULL"
    )
    return {"labelled": labelled, "right": right}


def _latency(database: Database, values: dict[str, object], where: str) -> Latency | None:
    with database.cursor() as cursor:
        cursor.execute(
            "WITH waited AS (SELECT extract(epoch FROM t.committed_at - t.kafka_at) * 1000 AS ms "
            "FROM lalafo.stage_timings AS t WHERE t.catalog = %(c)s "
            f"AND t.committed_at IS NOT NULL AND {where}) "
            "SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), "
            "percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), max(ms)::float8 FROM waited",
            values,
        )
        row = cursor.fetchone()
        assert row is not None
        return Latency(*row) if row[0] > 0 else None


def wait_for_timings(database: Database, catalog: str) -> None:
    """Wait until the session has noted when its last commits were seen; a few seconds at most."""
    deadline = time.monotonic() + TIMINGS_S
    while time.monotonic() < deadline:
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT FROM lalafo.stage_timings WHERE catalog = %s AND committed_at IS NULL "
                "LIMIT 1",
                (catalog,),
            )
            if cursor.rowcount == 0:
                return
        time.sleep(0.1)


def outcome_table(outcome: Outcome, yardsticks: Sequence[tuple[str, str]]) -> Table:
    """The closing table; `yardsticks` are further (name, value) rows below the accuracy."""
    table = Table(title="What became of the ads", show_header=False, min_width=64)
    table.add_column(style="bold")
    table.add_column()
    scored = outcome.statuses.get("scored", 0)
    table.add_row("events in", f"{outcome.published}")
    table.add_row("ads scored", f"{scored}, in {outcome.runs} Dagster run(s)")
    for status in ("unscored", "no_photos"):
        if outcome.statuses.get(status):
            table.add_row(f"ads {status.replace('_', ' ')}", str(outcome.statuses[status]))
    table.add_row("dead letters", _reasons(outcome.dead_letters))
    table.add_row("photos in", str(outcome.photos))
    table.add_row("photos failed", _reasons(outcome.photo_failures))
    if outcome.labelled:
        share = outcome.right / outcome.labelled
        table.add_row("accuracy on ads", f"{share:.1%} of {outcome.labelled} labelled")
    for name, value in yardsticks:
        table.add_row(name, value)
    table.add_row("Kafka → row, p50 / p99", _shown(outcome.latency))
    table.add_row("  while a session was warm", _shown(outcome.warm))
    lost = outcome.published - outcome.accounted_for
    table.add_row("not accounted for", f"[{'red' if lost else 'green'}]{lost}[/]")
    return table


def _reasons(counts: dict[str, int]) -> str:
    told = "".join(f"\n  {count} x {reason}" for reason, count in counts.items())
    return f"{sum(counts.values())}{told}"


def _shown(latency: Latency | None) -> str:
    return "none" if latency is None else str(latency)
