"""Computes the figures of `lalafo bench stream` from timestamps. Pure.

A percentile is a measured value (nearest rank, no interpolation). An ad whose commit time was not
recorded counts as committed at the latest possible moment.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

STAGES = ("kafka_to_poll", "fetch", "photos", "queued", "embed", "predict", "commit_and_waits")


@dataclass(frozen=True, slots=True)
class AdTiming:
    """One ad's timestamps, in seconds since 1970 (UTC)."""

    ad_id: str
    photos: int
    kafka_at: float  # the record's timestamp: when the producer sent it
    committed_at: float | None  # taken after the commit; None if a kill prevented it
    run_id: str = ""
    stages_ms: Mapping[str, float] = field(default_factory=dict)  # by STAGES


@dataclass(frozen=True, slots=True)
class Latency:
    """From the Kafka timestamp to the committed row, over all ads."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    untimed: int  # ads without a commit time, counted with the latest possible one


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value such that `share` (0 to 1) of all values are at most it; NaN if empty."""
    if not values:
        return math.nan
    rank = max(1, math.ceil(share * len(values)))
    return sorted(values)[rank - 1]


def latencies_ms(timings: Iterable[AdTiming], *, latest: float) -> list[float]:
    """Each ad's latency; an ad without a commit time counts as committed at `latest`."""
    return [
        ((latest if ad.committed_at is None else ad.committed_at) - ad.kafka_at) * 1000
        for ad in timings
    ]


def latency(timings: Sequence[AdTiming], *, latest: float) -> Latency:
    """The latency's figures; NaN if there are no ads."""
    values = latencies_ms(timings, latest=latest)
    return Latency(
        p50_ms=percentile(values, 0.5),
        p90_ms=percentile(values, 0.9),
        p99_ms=percentile(values, 0.99),
        max_ms=max(values, default=math.nan),
        untimed=sum(ad.committed_at is None for ad in timings),
    )


def searchable(timings: Iterable[AdTiming], at: Mapping[str, float]) -> dict[str, object]:
    """How long after its commit an ad is found by searches, over the ads with both moments.

    Args:
        at: when each ad was found first, by ad id, in seconds since 1970 (UTC).
    """
    after_ms = [
        (at[ad.ad_id] - ad.committed_at) * 1000
        for ad in timings
        if ad.committed_at is not None and ad.ad_id in at
    ]
    return {
        "searchable_ads": len(at),
        "searchable_p50_ms": rounded(percentile(after_ms, 0.5)),
        "searchable_p99_ms": rounded(percentile(after_ms, 0.99)),
        "searchable_max_ms": rounded(max(after_ms, default=math.nan)),
    }


def photos_per_s(timings: Sequence[AdTiming]) -> float:
    """Photos committed after the first commit, divided by the time from the first to the last.

    NaN if there are fewer than two commit times.
    """
    commits = [(ad.committed_at, ad.photos) for ad in timings if ad.committed_at is not None]
    if not commits:
        return math.nan
    first, last = min(at for at, _ in commits), max(at for at, _ in commits)
    if last == first:
        return math.nan
    return sum(photos for at, photos in commits if at > first) / (last - first)


def stage_medians(timings: Sequence[AdTiming]) -> dict[str, float]:
    """The median of each stage, in ms, without the stages that no ad has."""
    medians = {}
    for stage in STAGES:
        values = [ad.stages_ms[stage] for ad in timings if stage in ad.stages_ms]
        if values:
            medians[stage] = round(statistics.median(values), 2)
    return medians


def longest_gap_ms(timings: Iterable[AdTiming], *, since: float) -> float:
    """The longest time without a commit after `since`, in ms; NaN if there is no commit after."""
    moments = sorted(
        {
            ad.committed_at
            for ad in timings
            if ad.committed_at is not None and ad.committed_at > since
        }
        | {since}
    )
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    return max(gaps) * 1000 if gaps else math.nan


def rounded(value: float, digits: int = 1) -> float | None:
    """A rounded figure for JSON; None for NaN, which JSON does not have."""
    return None if math.isnan(value) else round(value, digits)
