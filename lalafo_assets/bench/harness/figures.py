"""From times to the figures of `lalafo bench stream`. Pure.

Decides what a percentile is (a value that was measured: nearest rank, never between two), and that
an ad whose commit time was not seen counts with the latest that it can have been.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

STAGES = ("kafka_to_poll", "fetch", "photos", "queued", "embed", "predict", "commit_and_waits")


@dataclass(frozen=True, slots=True)
class AdTiming:
    """One ad's way; moments in seconds since 1970, UTC."""

    ad_id: str
    photos: int
    kafka_at: float  # the record's own timestamp: when it was sent
    committed_at: float | None  # seen after the commit; None where nobody lived to see it
    run_id: str = ""
    stages_ms: Mapping[str, float] = field(default_factory=dict)  # by STAGES


@dataclass(frozen=True, slots=True)
class Latency:
    """Kafka timestamp to committed row, over all ads."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    untimed: int  # counted as committed at the latest moment possible


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of all are not above; NaN of none."""
    if not values:
        return math.nan
    rank = max(1, math.ceil(share * len(values)))
    return sorted(values)[rank - 1]


def latencies_ms(timings: Iterable[AdTiming], *, latest: float) -> list[float]:
    """Each ad's latency; one that nobody saw commit counts as committed at `latest`."""
    return [
        ((latest if ad.committed_at is None else ad.committed_at) - ad.kafka_at) * 1000
        for ad in timings
    ]


def latency(timings: Sequence[AdTiming], *, latest: float) -> Latency:
    """The latency's figures; NaN of no ads."""
    found = latencies_ms(timings, latest=latest)
    return Latency(
        p50_ms=percentile(found, 0.5),
        p90_ms=percentile(found, 0.9),
        p99_ms=percentile(found, 0.99),
        max_ms=max(found, default=math.nan),
        untimed=sum(ad.committed_at is None for ad in timings),
    )


def photos_per_s(timings: Sequence[AdTiming]) -> float:
    """From the first commit to the last: what was committed after the first, by the time it took.

    NaN where there are not two commits.
    """
    commits = [(ad.committed_at, ad.photos) for ad in timings if ad.committed_at is not None]
    if not commits:
        return math.nan
    first, last = min(at for at, _ in commits), max(at for at, _ in commits)
    if last == first:
        return math.nan
    return sum(photos for at, photos in commits if at > first) / (last - first)


def stage_medians(timings: Sequence[AdTiming]) -> dict[str, float]:
    """The median of each stage, in ms; stages that no ad has are left out."""
    found = {}
    for stage in STAGES:
        values = [ad.stages_ms[stage] for ad in timings if stage in ad.stages_ms]
        if values:
            found[stage] = round(statistics.median(values), 2)
    return found


def longest_gap_ms(timings: Iterable[AdTiming], *, since: float) -> float:
    """The longest time without a commit after `since`; NaN where there is none."""
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
    """A figure for JSON, which knows no NaN."""
    return None if math.isnan(value) else round(value, digits)
