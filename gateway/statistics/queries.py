"""Figures of the last minutes, and how things stand, in a few statements.

Decides that ads are never counted: sessions keep their minutes in `stream_minutes`, and everything
else that is read here is small, or read from its end for so many rows. So the cost is that of the
window, however many ads there are; `tests/integration/gateway/statistics/test_statistics.py` holds
the plans.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from gateway.schemas.ads import Source
from gateway.schemas.statistics import (
    Backlog,
    Counts,
    LagOut,
    MinuteOut,
    PartitionLag,
    ReleaseOut,
    RescoreOut,
    SessionOut,
    StageOut,
    StatisticsOut,
    Totals,
)
from gateway.statistics.lag import LogEnds
from ops.session.latency_histogram import percentile

MOST_LABELS = 20
MOST_WAITING = 10_000  # rows of the outbox that are counted
MOST_ACCEPTED = 1_000  # accepted ads that are looked at
STATEMENT_TIMEOUT_S = 5

Cursor = psycopg.Cursor[Any]
RunPage = Callable[[str], Source]

MINUTES = """
    SELECT minute, events, photos, statuses, labels, failures, latencies
    FROM lalafo.stream_minutes WHERE minute >= %(since)s AND minute <= %(until)s"""
OFFSETS = """
    SELECT partition, next_offset FROM lalafo.stream_offsets
    WHERE stream_id = %(stream_id)s AND topic = %(topic)s"""
OUTBOX = """
    SELECT count(*), extract(epoch FROM clock_timestamp() - min(created_at))::float8
    FROM (SELECT created_at FROM lalafo.outbox ORDER BY id LIMIT %(most)s) AS waiting"""
# The subquery is a look-up by primary key whatever the planner thinks of the tables' sizes.
ACCEPTED = """
    SELECT count(*), extract(epoch FROM clock_timestamp() - min(w.accepted_at))::float8
    FROM (SELECT catalog, ad_id, revision, accepted_at FROM lalafo.accepted_ads
        ORDER BY accepted_at DESC LIMIT %(most)s) AS w
    WHERE w.revision > coalesce((SELECT a.revision FROM lalafo.ads AS a
        WHERE a.catalog = w.catalog AND a.ad_id = w.ad_id), -1)"""
SESSIONS = """
    SELECT s.run_id, s.state, s.started_at, s.due_at, s.warm,
        (SELECT count(*) FROM lalafo.leases AS l
            WHERE l.run_id = s.run_id AND l.expires_at > clock_timestamp())
    FROM lalafo.sessions AS s
    WHERE s.topic = %(topic)s AND s.expires_at > clock_timestamp() ORDER BY s.started_at"""
RELEASES = """
    SELECT f.role, f.name, d.days, d.owed,
        r.state, r.attempt, r.requested_at, r.started_at, d.closed
    FROM (SELECT unnest(ARRAY['live', 'candidate', 'previous', 'announced']) AS role,
        unnest(ARRAY[live, candidate, previous, announced]) AS name
        FROM lalafo.active_releases) AS f
    LEFT JOIN LATERAL (SELECT * FROM lalafo.rescores AS r WHERE r.release = f.name
        ORDER BY r.attempt DESC LIMIT 1) AS r ON true
    CROSS JOIN LATERAL (SELECT count(*) AS days,
        count(*) FILTER (WHERE d.completed_at IS NULL) AS owed,
        count(*) FILTER (WHERE d.completed_at >= r.started_at) AS closed
        FROM lalafo.release_days AS d WHERE d.release = f.name) AS d
    WHERE f.name IS NOT NULL"""


@dataclass(slots=True)
class _Figures:
    """Sums of rows of `stream_minutes`."""

    events: int = 0
    photos: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    latencies: dict[str, Counter[int]] = field(default_factory=dict)

    def add(
        self,
        events: int,
        photos: int,
        statuses: Mapping[str, int],
        labels: Mapping[str, Mapping[str, int]],
        failures: Mapping[str, int],
        latencies: Mapping[str, Mapping[str, int]],
    ) -> None:
        self.events += events
        self.photos += photos
        self.statuses.update(statuses)
        self.failures.update(failures)
        for task, counts in labels.items():
            self.labels.setdefault(task, Counter()).update(counts)
        for stage, buckets in latencies.items():
            found = self.latencies.setdefault(stage, Counter())
            for bucket, count in buckets.items():
                found[int(bucket)] += count

    @property
    def totals(self) -> dict[str, int]:
        return {
            "events": self.events,
            "ads": self.statuses.total(),
            "photos": self.photos,
            "failures": self.failures.total(),
        }


def read_statistics(
    cursor: Cursor, *, minutes: int, topic: str, log: LogEnds | None, run: RunPage, release: RunPage
) -> StatisticsOut:
    """The statistics of a window that ends now.

    Args:
        log: what Kafka says of the topic; None while it says nothing.
        run: a run's page.
        release: a release's page.
    """
    cursor.execute(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_S * 1000}")
    now = datetime.now(UTC)
    whole, by_minute = _read_minutes(cursor, now, minutes)
    return StatisticsOut(
        at=now,
        minutes=minutes,
        totals=Totals(**whole.totals),
        series=[_minute(at, figures) for at, figures in by_minute.items()],
        latencies={stage: _stage(buckets) for stage, buckets in whole.latencies.items()},
        statuses=_most(whole.statuses),
        labels={task: _most(whole.labels[task], MOST_LABELS) for task in sorted(whole.labels)},
        failures=_most(whole.failures),
        lag=None if log is None else _read_lag(cursor, topic, log),
        outbox=read_backlog(cursor, OUTBOX, MOST_WAITING),
        accepted=read_backlog(cursor, ACCEPTED, MOST_ACCEPTED),
        sessions=_read_sessions(cursor, topic, run),
        releases=_read_releases(cursor, now, release),
    )


def _read_minutes(
    cursor: Cursor, now: datetime, minutes: int
) -> tuple[_Figures, dict[datetime, _Figures]]:
    """The sums of the window, and of each of its minutes."""
    last = now.replace(second=0, microsecond=0)
    moments = [last - timedelta(minutes=back) for back in reversed(range(minutes))]
    whole, by_minute = _Figures(), {moment: _Figures() for moment in moments}
    cursor.execute(MINUTES, {"since": moments[0], "until": last})
    for minute, *figures in cursor:
        whole.add(*figures)
        by_minute[minute.astimezone(UTC)].add(*figures)
    return whole, by_minute


def _minute(moment: datetime, figures: _Figures) -> MinuteOut:
    total = figures.latencies.get("total", Counter())
    return MinuteOut(
        minute=moment,
        **figures.totals,
        p50_ms=_rounded(percentile(total, 0.5)),
        p99_ms=_rounded(percentile(total, 0.99)),
    )


def _stage(buckets: Counter[int]) -> StageOut:
    p50, p90, p99 = (_rounded(percentile(buckets, share)) or 0.0 for share in (0.5, 0.9, 0.99))
    return StageOut(ads=buckets.total(), p50_ms=p50, p90_ms=p90, p99_ms=p99)


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 2)


def _most(counts: Mapping[str, int], limit: int | None = None) -> Counts:
    """The most frequent first, those of one count by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit])


def _read_lag(cursor: Cursor, topic: str, log: LogEnds) -> LagOut:
    cursor.execute(OFFSETS, {"stream_id": log.stream_id, "topic": topic})
    committed: dict[int, int] = dict(cursor.fetchall())
    partitions = [
        PartitionLag(
            partition=partition,
            committed=committed.get(partition),
            end=end,
            # Kafka was asked some seconds before: what was committed since may be past its end.
            lag=max(0, end - max(committed.get(partition, 0), log.begins[partition])),
        )
        for partition, end in sorted(log.ends.items())
    ]
    return LagOut(
        events=sum(one.lag for one in partitions), asked_at=log.asked_at, partitions=partitions
    )


def read_backlog(cursor: Cursor, query: str, most: int) -> Backlog:
    """What waits, as OUTBOX or ACCEPTED counts it, of so many rows at most."""
    cursor.execute(query, {"most": most})
    ((waiting, oldest_s),) = cursor.fetchall()
    shown = None if oldest_s is None else round(max(0.0, oldest_s), 3)
    return Backlog(waiting=waiting, at_least=waiting == most, oldest_s=shown)


def _read_sessions(cursor: Cursor, topic: str, run: RunPage) -> list[SessionOut]:
    cursor.execute(SESSIONS, {"topic": topic})
    return [
        SessionOut(
            run=run(run_id),
            state=state,
            partitions=partitions,
            started_at=started_at.astimezone(UTC),
            due_at=due_at.astimezone(UTC),
            releases=warm,
        )
        for run_id, state, started_at, due_at, warm, partitions in cursor.fetchall()
    ]


def _read_releases(cursor: Cursor, now: datetime, release: RunPage) -> list[ReleaseOut]:
    cursor.execute(RELEASES)
    return [
        ReleaseOut(
            role=role,
            release=release(name),
            days=days,
            days_unscored=unscored,
            rescore=None if rescore[0] is None else _rescore(rescore, now, unscored),
        )
        for role, name, days, unscored, *rescore in cursor.fetchall()
    ]


def _rescore(row: Sequence[Any], now: datetime, unscored: int) -> RescoreOut:
    state, attempt, requested_at, started_at, closed = row
    paced = state == "running" and started_at is not None and closed > 0
    return RescoreOut(
        state=state,
        attempt=attempt,
        requested_at=requested_at.astimezone(UTC),
        started_at=None if started_at is None else started_at.astimezone(UTC),
        days_done=closed,
        remaining_s=(
            round((now - started_at).total_seconds() / closed * unscored, 1) if paced else None
        ),
    )
