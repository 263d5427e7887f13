"""The queries of the statistics: figures of the last minutes, and the current state.

Ads are never counted: sessions write their figures per minute to `stream_minutes`, and every other
table that is read here is small, or is read only up to a maximum number of rows. The cost depends
on the window and not on the number of ads; the query plans are checked in
`tests/integration/gateway/statistics/test_statistics.py`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from gateway.backends.lag import LogEnds, partition_lags
from gateway.backends.notices import ACCEPTED, MAX_ACCEPTED
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
from ops.session.latency_histogram import percentile

MAX_LABELS = 20
MAX_WAITING = 10_000  # outbox rows to count
STATEMENT_TIMEOUT_S = 5

WAITED = "waited_for_session"  # of `latencies`: as resources/sessions/minutes.py writes it

Cursor = psycopg.Cursor[Any]
RunPage = Callable[[str], Source]

MINUTES = """
    SELECT minute, events, photos, statuses, labels, failures, latencies
    FROM lalafo.stream_minutes WHERE minute >= %(since)s AND minute <= %(until)s"""
OUTBOX = """
    SELECT count(*), extract(epoch FROM clock_timestamp() - min(created_at))::float8
    FROM (SELECT created_at FROM lalafo.outbox ORDER BY id LIMIT %(most)s) AS waiting"""
SESSIONS = """
    SELECT s.run_id, s.state, s.started_at, s.due_at, s.warm, s.code_version, s.host,
        ARRAY(SELECT l.partition FROM lalafo.leases AS l
            WHERE l.run_id = s.run_id AND l.expires_at > clock_timestamp() ORDER BY l.partition)
    FROM lalafo.sessions AS s
    WHERE s.topic = %(topic)s AND s.expires_at > clock_timestamp() ORDER BY s.started_at"""
RELEASES = """
    SELECT f.role, f.name, d.days, d.unscored,
        r.state, r.attempt, r.requested_at, r.started_at, d.closed
    FROM (SELECT unnest(ARRAY['live', 'candidate', 'previous', 'announced']) AS role,
        unnest(ARRAY[live, candidate, previous, announced]) AS name
        FROM lalafo.active_releases) AS f
    LEFT JOIN LATERAL (SELECT * FROM lalafo.rescores AS r WHERE r.release = f.name
        ORDER BY r.attempt DESC LIMIT 1) AS r ON true
    CROSS JOIN LATERAL (SELECT count(*) AS days,
        count(*) FILTER (WHERE d.completed_at IS NULL) AS unscored,
        count(*) FILTER (WHERE d.completed_at >= r.started_at) AS closed
        FROM lalafo.release_days AS d WHERE d.release = f.name) AS d
    WHERE f.name IS NOT NULL"""


@dataclass(slots=True)
class _Figures:
    """Sums over rows of `stream_minutes`."""

    events: int = 0
    photos: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    latencies: dict[str, Counter[int]] = field(default_factory=dict)
    waited: Counter[int] = field(default_factory=Counter)  # instead of `latencies["total"]`

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
            waited = stage == WAITED
            histogram = self.waited if waited else self.latencies.setdefault(stage, Counter())
            for bucket, count in buckets.items():
                histogram[int(bucket)] += count

    @property
    def totals(self) -> dict[str, int]:
        return {
            "events": self.events,
            "ads": self.statuses.total(),
            "photos": self.photos,
            "failures": self.failures.total(),
        }


def read_statistics(
    cursor: Cursor,
    *,
    minutes: int,
    topic: str,
    log: LogEnds | None,
    store_problem: str | None,
    run: RunPage,
    release: RunPage,
) -> StatisticsOut:
    """Read the statistics of a window that ends now.

    Args:
        log: the topic's offsets in Kafka; None while Kafka is unavailable.
        store_problem: why the photo store can't be written; None if it can.
        run: returns the link of a run.
        release: returns the link of a release.
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
        waited_for_session=_stage(whole.waited) if whole.waited else None,
        statuses=_most(whole.statuses),
        labels={task: _most(whole.labels[task], MAX_LABELS) for task in sorted(whole.labels)},
        failures=_most(whole.failures),
        lag=None if log is None else _read_lag(cursor, topic, log),
        outbox=read_backlog(cursor, OUTBOX, MAX_WAITING),
        accepted=read_backlog(cursor, ACCEPTED, MAX_ACCEPTED),
        store_problem=store_problem,
        sessions=_read_sessions(cursor, topic, run),
        releases=_read_releases(cursor, now, release),
    )


def _read_minutes(
    cursor: Cursor, now: datetime, minutes: int
) -> tuple[_Figures, dict[datetime, _Figures]]:
    """Sum the figures of the window, and of each of its minutes."""
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
    return None if ms is None else round(ms, 3)


def _most(counts: Mapping[str, int], limit: int | None = None) -> Counts:
    """Sort by count, highest first; equal counts by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit])


def _read_lag(cursor: Cursor, topic: str, log: LogEnds) -> LagOut:
    partitions = [PartitionLag(**asdict(one)) for one in partition_lags(cursor, topic, log)]
    return LagOut(
        events=sum(one.lag for one in partitions), asked_at=log.asked_at, partitions=partitions
    )


def read_backlog(cursor: Cursor, query: str, max_rows: int) -> Backlog:
    """Count waiting rows with OUTBOX or ACCEPTED, looking at no more than `max_rows` rows."""
    cursor.execute(query, {"most": max_rows})
    ((waiting, oldest_s),) = cursor.fetchall()
    age_s = None if oldest_s is None else round(max(0.0, oldest_s), 3)
    return Backlog(waiting=waiting, at_least=waiting == max_rows, oldest_s=age_s)


def _read_sessions(cursor: Cursor, topic: str, run: RunPage) -> list[SessionOut]:
    cursor.execute(SESSIONS, {"topic": topic})
    return [
        SessionOut(
            run=run(run_id),
            state=state,
            partitions=len(reads),
            reads=reads,
            started_at=started_at.astimezone(UTC),
            due_at=due_at.astimezone(UTC),
            releases=warm,
            code_version=code_version,
            host=host,
        )
        for run_id, state, started_at, due_at, warm, code_version, host, reads in cursor.fetchall()
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
