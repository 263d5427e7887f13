"""Says what delayed the ads that took longest, from their stages and from samples. Pure.

A spike is an ad that took more than three times the median. Its stage is the one that exceeds its
own median by most. The cause is what the samples of its time show beyond what is usual: the disk,
other processes on the cores, or else the ads before it.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lalafo_assets.bench.harness.cpu import SESSIONS
from lalafo_assets.bench.harness.figures import AdTiming, percentile, stage_medians

TIMES_MEDIAN = 3.0
SLOW_FSYNC_MS = 10.0
"""A write with fsync in this time or more counts as a slow disk, if it is also five times the
median."""
_DISK_STAGES = ("commit_and_waits",)
_WAITED_SHARE = 0.25  # of the excess


@dataclass(frozen=True, slots=True)
class Sample:
    """What happened in the time up to `at`, in ms; see `sampler.py`."""

    at: float  # seconds since 1970
    cpu_ms: Mapping[str, float]  # by group of processes
    waited_ms: float  # ready threads of the sessions without a core, all together
    fsync_ms: float
    late_ms: float

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Sample":
        """A sample of the sampler's answer."""
        return cls(**answer)


@dataclass(frozen=True, slots=True)
class Spike:
    """An ad that took more than three times the median, and why."""

    ad_id: str
    at: float  # of its Kafka timestamp, seconds since 1970
    latency_ms: float
    stage: str
    stage_ms: float
    others: int  # ads that were in process at its time
    cause: str


def find_spikes(timings: Sequence[AdTiming], samples: Sequence[Sample]) -> list[Spike]:
    """The spikes among these ads, in the order of sending; those without a commit time are none."""
    done = [(ad, ad.committed_at) for ad in timings if ad.committed_at is not None]
    if not done:
        return []
    limit_ms = TIMES_MEDIAN * percentile([(end - ad.kafka_at) * 1e3 for ad, end in done], 0.5)
    medians, usual = stage_medians(timings), _usual(samples)
    spikes = []
    for ad, end in done:
        latency_ms = (end - ad.kafka_at) * 1e3
        if latency_ms <= limit_ms or not ad.stages_ms:
            continue
        stage = max(ad.stages_ms, key=lambda name: ad.stages_ms[name] - medians[name])
        excess_ms = ad.stages_ms[stage] - medians[stage]
        others = sum(o.kafka_at < end and at > ad.kafka_at for o, at in done) - 1
        inside = [s for s in samples if ad.kafka_at <= s.at <= end + _span(samples)]
        spikes.append(
            Spike(
                *(ad.ad_id, ad.kafka_at, latency_ms, stage, ad.stages_ms[stage], others),
                _cause(stage, excess_ms, inside, usual, others),
            )
        )
    return spikes


def causes(spikes: Sequence[Spike]) -> dict[str, int]:
    """The number of spikes by cause, the most frequent first."""
    counts: dict[str, int] = {}
    for spike in spikes:
        counts[spike.cause] = counts.get(spike.cause, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _span(samples: Sequence[Sample]) -> float:
    """Seconds between two samples: what happens until `at` is in the sample after it."""
    if len(samples) < 2:
        return 0.0
    return (samples[-1].at - samples[0].at) / (len(samples) - 1)


def _usual(samples: Sequence[Sample]) -> Sample:
    """The median of each figure."""
    if not samples:
        return Sample(0.0, {}, 0.0, 0.0, 0.0)
    groups = {group for sample in samples for group in sample.cpu_ms}
    return Sample(
        at=0.0,
        cpu_ms={g: statistics.fmean(s.cpu_ms.get(g, 0.0) for s in samples) for g in groups},
        waited_ms=statistics.median(s.waited_ms for s in samples),
        fsync_ms=statistics.median(s.fsync_ms for s in samples),
        late_ms=statistics.median(s.late_ms for s in samples),
    )


def _cause(
    stage: str, excess_ms: float, inside: Sequence[Sample], usual: Sample, others: int
) -> str:
    slowest = max((sample.fsync_ms for sample in inside), default=0.0)
    if stage in _DISK_STAGES and slowest >= max(SLOW_FSYNC_MS, 5 * usual.fsync_ms):
        return "the disk: fsync was slow"
    waited = sum(sample.waited_ms - usual.waited_ms for sample in inside)
    if waited > _WAITED_SHARE * excess_ms:
        more = {
            group: sum(sample.cpu_ms.get(group, 0.0) - usual_ms for sample in inside)
            for group, usual_ms in usual.cpu_ms.items()
        }
        group = max(more, key=lambda name: more[name])
        if group != SESSIONS:
            return f"no free core: {group} used them"
        return "no free core: the session's own threads used them"
    if stage == "queued" or others >= 2:
        return "ads before it"
    return "not seen in the samples"
