"""The shape of the statistics, version 1. Decides names and units; what is counted, and how, is
`statistics_reading.py`'s."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from gateway.schemas.ads import Answer, Source

Counts = dict[str, int]


class Totals(Answer):
    """Sums over the window."""

    events: int = Field(description="Records that were read: ads, replays and refused ones.")
    ads: int = Field(description="Ads that were committed, whatever their status.")
    photos: int
    failures: int = Field(description="Events and photos that could not be used.")


class MinuteOut(Totals):
    """One minute; of those in which nothing happened, zeros."""

    minute: datetime = Field(description="Its begin.")
    p50_ms: float | None = Field(description="From Kafka's timestamp to the committed row.")
    p99_ms: float | None


class StageOut(Answer):
    """How long a stage took, over the window. Read from buckets that are 12 % wide: a figure is off
    by less than that, or by 1 ms."""

    ads: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


class PartitionLag(Answer):
    partition: int
    committed: int | None = Field(description="The next offset to be committed; null: none yet.")
    end: int = Field(description="The next offset that Kafka will give.")
    lag: int


class LagOut(Answer):
    """Events in Kafka that are not committed yet."""

    events: int
    asked_at: datetime = Field(description="When Kafka was asked; committed offsets are of now.")
    partitions: list[PartitionLag]


class Backlog(Answer):
    """What waits."""

    waiting: int
    at_least: bool = Field(description="There may be more: no more than these were looked at.")
    oldest_s: float | None = Field(description="How long the oldest of them has waited.")


class SessionOut(Answer):
    """A session that is alive."""

    run: Source
    state: Literal["warming", "ready", "leaving"]
    partitions: int = Field(description="That it reads now; 0: it stands by.")
    started_at: datetime
    due_at: datetime = Field(description="When the next one takes over.")
    releases: list[str] = Field(description="Those that it has loaded.")


class RescoreOut(Answer):
    """The last re-score that was asked for."""

    state: Literal["waiting", "running", "done", "cancelled"]
    attempt: int
    requested_at: datetime
    started_at: datetime | None
    days_done: int = Field(description="Days that were completed since it has started.")
    remaining_s: float | None = Field(
        description="At the pace since it has started; null before a day was completed."
    )


class ReleaseOut(Answer):
    """A release, and how much of the catalogue it has scored."""

    role: Literal["live", "candidate", "previous", "announced"]
    release: Source
    days: int = Field(description="Days that had ads when it came in force.")
    days_unscored: int = Field(description="Of them, those with ads that it has not scored.")
    rescore: RescoreOut | None


class StatisticsOut(Answer):
    """What happened in the last minutes, and how things stand."""

    at: datetime
    minutes: int = Field(description="The window, the present minute included.")
    totals: Totals
    series: list[MinuteOut] = Field(description="Every minute of the window, the oldest first.")
    latencies: dict[str, StageOut] = Field(
        description="By stage: total (from Kafka's timestamp to the committed row), fetch, photos, "
        "queued, embed, predict. A stage that no ad went through is missing."
    )
    statuses: Counts = Field(description="Committed ads by status; the most first.")
    labels: dict[str, Counts] = Field(
        description="By task: the live release's 20 most frequent labels, the most first."
    )
    failures: Counts = Field(description="By reason; the most first.")
    lag: LagOut | None = Field(description="null while Kafka is away.")
    outbox: Backlog = Field(description="Events that Kafka has not acknowledged yet.")
    accepted: Backlog = Field(
        description="Of the latest 1,000 accepted ads those that are not committed yet."
    )
    sessions: list[SessionOut]
    releases: list[ReleaseOut]
