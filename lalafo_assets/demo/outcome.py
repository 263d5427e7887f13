"""The results of a demo's ads, read from PostgreSQL, and the closing table.

Owns what counts as accounted for: every published event must be an ad or a dead letter.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.table import Table

from ops.training.figures import Accuracy
from resources.postgres.database import Database

TIMINGS_S = 5.0


@dataclass(frozen=True, slots=True)
class Counts:
    """The progress of the stream in one catalog."""

    ads: int
    photos: int
    photos_failed: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class TreeAnswers:
    """The answers to ads with a label where the categories are a tree."""

    ads: int  # at least 1
    sure: int  # with an answer that is sure
    right: int  # of these, the label or a node above it

    def __str__(self) -> str:
        share = f", {self.right / self.sure:.1%} of them right" if self.sure else ""
        return f"{self.sure} of {self.ads} ads have an answer that is sure{share}"


@dataclass(frozen=True, slots=True)
class Latency:
    """The time from the Kafka timestamp to the committed row, in milliseconds."""

    ads: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    def __str__(self) -> str:
        return f"{self.p50_ms:,.0f} / {self.p99_ms:,.0f} ms ({self.ads} ads)"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a demo."""

    published: int
    broken: int  # of those published: not valid events, on purpose
    statuses: dict[str, int]  # ads
    photos: int
    corrupt: dict[str, int]  # failed photos that the demo has made corrupt, by reason
    photo_failures: dict[str, int]  # all others, by reason
    dead_letters: dict[str, int]  # by reason
    accuracy: Accuracy | None  # of the ads with a label and a prediction; None: there are none
    tree: TreeAnswers | None  # None: the categories are no tree
    latency: Latency | None  # without the ads that waited for a session's start
    waited: Latency | None  # of those
    runs: int

    @property
    def accounted_for(self) -> int:
        return sum(self.statuses.values()) + sum(self.dead_letters.values())


@dataclass(frozen=True, slots=True)
class Watch:
    """Reads the state of one demo's ads."""

    database: Database
    catalog: str
    stream_id: str
    since: datetime
    corrupt_url: str  # what the URLs of photos that are corrupt on purpose begin with

    def counts(self) -> Counts:
        """Return the number of ads, photos and dead letters so far."""
        row = self._one(
            "SELECT (SELECT count(*) FROM lalafo.ads WHERE catalog = %(catalog)s), "
            "count(*), count(reason), (SELECT count(*) FROM lalafo.failures WHERE kind = 'event' "
            "AND stream_id = %(stream)s AND failed_at >= %(since)s) "
            "FROM lalafo.ad_photos WHERE catalog = %(catalog)s"
        )
        return Counts(*row)

    def outcome(self, published: int, broken: int) -> Outcome:
        """Return everything that the closing table shows."""
        (photos,) = self._one("SELECT count(*) FROM lalafo.ad_photos WHERE catalog = %(catalog)s")
        (runs,) = self._one(
            "SELECT count(DISTINCT run_id) FROM lalafo.ads WHERE catalog = %(catalog)s"
        )
        return Outcome(
            published=published,
            broken=broken,
            statuses=self._pairs(
                "SELECT status, count(*) FROM lalafo.ads WHERE catalog = %(catalog)s GROUP BY 1"
            ),
            photos=photos,
            corrupt=self._photo_failures("starts_with(url, %(corrupt)s)"),
            photo_failures=self._photo_failures("NOT starts_with(url, %(corrupt)s)"),
            dead_letters=self._pairs(
                "SELECT reason, count(*) FROM lalafo.failures WHERE kind = 'event' AND stream_id = "
                "%(stream)s AND failed_at >= %(since)s GROUP BY 1 ORDER BY 2 DESC, 1"
            ),
            accuracy=self._accuracy(),
            tree=self._tree(),
            latency=self._latency("NOT t.waited_for_session"),
            waited=self._latency("t.waited_for_session"),
            runs=runs,
        )

    def wait_for_timings(self) -> None:
        """Wait, TIMINGS_S at most, until the session has written the times of its last commits."""
        deadline = time.monotonic() + TIMINGS_S
        while time.monotonic() < deadline:
            (missing,) = self._one(
                "SELECT count(*) FROM lalafo.stage_timings WHERE catalog = %(catalog)s "
                "AND committed_at IS NULL"
            )
            if missing == 0:
                return
            time.sleep(0.1)

    def _accuracy(self) -> Accuracy | None:
        """Of the live release, by the categories of the ads; chance is the most frequent one."""
        labelled, right, most = self._one(
            "SELECT coalesce(sum(ads), 0)::int, coalesce(sum(are_right), 0)::int, max(ads) FROM ("
            "SELECT count(*) AS ads, count(*) FILTER (WHERE p.label = a.category) AS are_right "
            "FROM lalafo.ads AS a JOIN lalafo.predictions AS p USING (catalog, ad_id) "
            "JOIN lalafo.active_releases AS f ON p.release = f.live "
            "WHERE a.catalog = %(catalog)s AND p.task = 'category' AND a.category IS NOT NULL "
            "GROUP BY a.category) AS by_category"
        )
        return Accuracy(right, labelled, most / labelled) if labelled else None

    def _tree(self) -> TreeAnswers | None:
        """Of the live release; a node above the ad's category is right too."""
        row = self._one(
            "SELECT count(*), count(*) FILTER (WHERE sure), count(*) FILTER (WHERE sure AND "
            "(label = category OR starts_with(category, label || '/'))) FROM ("
            "SELECT p.label, a.category, p.details -> 'path' <> '[]' AS sure "
            "FROM lalafo.ads AS a JOIN lalafo.predictions_with_details AS p USING (catalog, ad_id) "
            "JOIN lalafo.active_releases AS f ON p.release = f.live "
            "WHERE a.catalog = %(catalog)s AND p.task = 'category' AND a.category IS NOT NULL "
            "AND p.details ? 'path') AS answers"
        )
        return TreeAnswers(*row) if row[0] > 0 else None

    def _photo_failures(self, where: str) -> dict[str, int]:
        return self._pairs(
            "SELECT reason, count(*) FROM lalafo.failures WHERE kind = 'photo' "
            f"AND catalog = %(catalog)s AND {where} GROUP BY 1 ORDER BY 2 DESC, 1"
        )

    def _latency(self, where: str) -> Latency | None:
        row = self._one(
            "WITH waited AS (SELECT extract(epoch FROM t.committed_at - t.kafka_at) * 1000 AS ms "
            "FROM lalafo.stage_timings AS t WHERE t.catalog = %(catalog)s "
            f"AND t.committed_at IS NOT NULL AND {where}) "
            "SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), "
            "percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), max(ms)::float8 FROM waited"
        )
        return Latency(*row) if row[0] > 0 else None

    def _pairs(self, query: str) -> dict[str, int]:
        with self.database.cursor() as cursor:
            cursor.execute(query, self._values)
            return dict(cursor.fetchall())

    def _one(self, query: str) -> tuple[Any, ...]:
        with self.database.cursor() as cursor:
            cursor.execute(query, self._values)
            row = cursor.fetchone()
            assert row is not None
            return tuple(row)

    @property
    def _values(self) -> dict[str, object]:
        return {
            "catalog": self.catalog,
            "stream": self.stream_id,
            "since": self.since,
            "corrupt": self.corrupt_url,
        }


def outcome_table(outcome: Outcome, baselines: Sequence[tuple[str, str]]) -> Table:
    """Return the closing table; `baselines` are further (name, value) rows below the accuracy."""
    table = Table(title="Results", show_header=False, min_width=64)
    table.add_column(style="bold")
    table.add_column()
    scored = outcome.statuses.get("scored", 0)
    ads = outcome.published - outcome.broken
    table.add_row(
        "events published", f"{outcome.published}: {ads} ads, {outcome.broken} invalid on purpose"
    )
    runs = "1 Dagster run" if outcome.runs == 1 else f"{outcome.runs} Dagster runs"
    table.add_row("ads scored", f"{scored}, in {runs}")
    for status in ("unscored", "no_photos"):
        if outcome.statuses.get(status):
            table.add_row(f"ads {status.replace('_', ' ')}", str(outcome.statuses[status]))
    table.add_row("dead letters", _reasons(outcome.dead_letters, _on_purpose(outcome)))
    table.add_row("photos", str(outcome.photos))
    table.add_row("photos failed", _reasons(outcome.corrupt, "made corrupt on purpose by the demo"))
    table.add_row("", _reasons(outcome.photo_failures, "others"))
    if outcome.accuracy is not None:
        table.add_row("accuracy on ads", str(outcome.accuracy))
    if outcome.tree is not None:
        table.add_row("answers, nodes above too", str(outcome.tree))
    for name, value in baselines:
        table.add_row(name, value)
    table.add_row("Kafka to row, p50 / p99", _formatted(outcome.latency))
    if outcome.waited is not None:
        waited = outcome.waited
        text = f"{waited.ads} ads that waited for a session to start, up to"
        table.add_row("  left out", f"{text} {waited.max_ms / 1e3:.1f} s")
    lost = outcome.published - outcome.accounted_for
    table.add_row("not accounted for", f"[{'red' if lost else 'green'}]{lost}[/]")
    return table


def _on_purpose(outcome: Outcome) -> str:
    dead = sum(outcome.dead_letters.values())
    return "sent by the demo on purpose" if dead == outcome.broken else "dead letters"


def _reasons(counts: dict[str, int], what: str) -> str:
    lines = "".join(f"\n  {count} x {reason}" for reason, count in counts.items())
    return f"{sum(counts.values())} {what}{lines}"


def _formatted(latency: Latency | None) -> str:
    return "none" if latency is None else str(latency)
