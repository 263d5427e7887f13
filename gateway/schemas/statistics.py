"""Response models of the statistics, version 1.

Owns names and units; `gateway/statistics/queries.py` computes the values.
"""

from datetime import datetime
from typing import Literal

from pydantic import Field

from gateway.schemas.ads import ResponseModel, Source

Counts = dict[str, int]


class Totals(ResponseModel):
    """Sums over the window."""

    events: int = Field(
        description="Records that were read from Kafka: ads, repeated records and invalid ones."
    )
    ads: int = Field(description="Ads that were committed, with any status.")
    photos: int
    failures: int = Field(description="Events and photos that could not be processed.")


class MinuteOut(Totals):
    """The figures of one minute; zeros if nothing happened."""

    minute: datetime = Field(description="The start of the minute.")
    p50_ms: float | None = Field(
        description="Median latency from Kafka's timestamp to the committed row, of the ads that "
        "did not wait for a session's start; null without such ads."
    )
    p99_ms: float | None = Field(
        description="99th percentile of the same latency; null without such ads."
    )


class StageOut(ResponseModel):
    """Latency of a stage over the window.

    Percentiles come from a histogram whose buckets are 12 % wide: the error is below 12 % or 1 ms.
    """

    ads: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


class PartitionLag(ResponseModel):
    partition: int
    committed: int | None = Field(
        description="The offset after the last committed event; null: nothing is committed yet."
    )
    end: int = Field(description="The end offset: the offset of the next record in Kafka.")
    lag: int


class LagOut(ResponseModel):
    """Events in Kafka that are not committed yet."""

    events: int
    asked_at: datetime = Field(
        description="When the end offsets were read from Kafka; committed offsets are current."
    )
    partitions: list[PartitionLag]


class Backlog(ResponseModel):
    """The number and age of waiting rows."""

    waiting: int
    at_least: bool = Field(
        description="Whether there may be more: counting stops at a maximum number of rows."
    )
    oldest_s: float | None = Field(description="Age of the oldest waiting row in seconds.")


class SessionOut(ResponseModel):
    """A running session."""

    run: Source
    state: Literal["warming", "ready", "leaving"]
    partitions: int = Field(description="Number of partitions it reads now; 0: it is on standby.")
    reads: list[int] = Field(default=[], description="The numbers of these partitions.")
    started_at: datetime
    due_at: datetime = Field(description="When the next session takes over.")
    releases: list[str] = Field(description="The releases that it has loaded.")
    code_version: str = Field(default="", description="The version of the code that it runs.")
    host: str = Field(default="", description="The machine that it runs on.")


class RescoreOut(ResponseModel):
    """The last requested re-score of a release."""

    state: Literal["waiting", "running", "done", "cancelled"]
    attempt: int
    requested_at: datetime
    started_at: datetime | None
    days_done: int = Field(description="Days that were completed since the re-score started.")
    remaining_s: float | None = Field(
        description="Estimated seconds to the end, at the pace since the start; null before the "
        "first day is completed."
    )


class ReleaseOut(ResponseModel):
    """A release, and how much of the catalogue it has scored."""

    role: Literal["live", "candidate", "previous", "announced"]
    release: Source
    days: int = Field(description="Days that had ads when the release became active.")
    days_unscored: int = Field(description="Those of `days` with ads that it has not scored.")
    rescore: RescoreOut | None


class StatisticsOut(ResponseModel):
    """Figures of the last minutes, and the current state of sessions, releases and backlogs."""

    at: datetime
    minutes: int = Field(
        description="The length of the window in minutes, including the current one."
    )
    totals: Totals
    series: list[MinuteOut] = Field(description="Every minute of the window, oldest first.")
    latencies: dict[str, StageOut] = Field(
        description="Latency by stage: `total` (from Kafka's timestamp to the committed row), "
        "`fetch`, `photos`, `queued`, `embed`, `predict`. Stages without ads are omitted. `total` "
        "leaves out the ads of `waited_for_session`."
    )
    waited_for_session: StageOut | None = Field(
        default=None,
        description="Latency from Kafka's timestamp to the committed row of ads that waited for a "
        "session's start: they were in Kafka before the session that scored them began to read, "
        "and no other session read their partition meanwhile. Null: none.",
    )
    statuses: Counts = Field(description="Committed ads by status, most frequent first.")
    labels: dict[str, Counts] = Field(
        description="The live release's 20 most frequent labels by task, most frequent first."
    )
    failures: Counts = Field(description="Failures by reason, most frequent first.")
    lag: LagOut | None = Field(
        description="Events in Kafka that are not committed yet; null while Kafka is unavailable."
    )
    outbox: Backlog = Field(description="Records that Kafka has not acknowledged yet.")
    accepted: Backlog = Field(
        description="Those of the latest 1,000 accepted ads that are not committed yet."
    )
    store_problem: str | None = Field(
        default=None,
        description="Why the photo store can't be written, such as `is full`: photos can't be "
        "uploaded then, and sessions wait. Null: it can be written.",
    )
    sessions: list[SessionOut]
    releases: list[ReleaseOut]
