"""Latencies as counts in log-spaced buckets, so that those of many minutes and sessions add up.

Decides the bounds, from 1 ms to 120 s, each 11.9 % above the last. A percentile of what lies
between them is off by less than that; below 1 ms by less than 1 ms; 120 s stands for all above.
"""

from bisect import bisect_right
from collections.abc import Mapping

FIRST_MS, LAST_MS = 1.0, 120_000.0
_STEPS = 104
RATIO = (LAST_MS / FIRST_MS) ** (1 / _STEPS)
BOUNDS = (*(FIRST_MS * RATIO**n for n in range(_STEPS)), LAST_MS)
"""Ascending, ms. Bucket n has BOUNDS[n - 1] <= ms < BOUNDS[n]; 0 all below, the last all above."""


def bucket_of(ms: float) -> int:
    """The bucket that a latency falls into, 0 to len(BOUNDS)."""
    return bisect_right(BOUNDS, ms)


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """What so large a share of the latencies does not exceed, ms; None where there are none.

    As numpy's `percentile` reckons it, by ranks, each latency taken to be at its place in its
    bucket: so the error is below (RATIO - 1) of the exact value, plus 1 ms below 1 ms.

    Args:
        counts: latencies by bucket.
        share: 0 to 1.
    """
    total = sum(counts.values())
    if total == 0:
        return None
    rank = share * (total - 1)
    below = int(rank)
    value = _at_rank(counts, below)
    if rank == below:
        return value
    return value + (rank - below) * (_at_rank(counts, below + 1) - value)


def _at_rank(counts: Mapping[int, int], rank: int) -> float:
    """The latency of a rank, from 0 on, those of one bucket spread evenly over it."""
    before = 0
    for bucket in sorted(counts):
        if rank < before + counts[bucket]:
            low, high = _edges(bucket)
            return low + (high - low) * (rank - before + 0.5) / counts[bucket]
        before += counts[bucket]
    raise ValueError(f"rank {rank} of {before} latencies")


def _edges(bucket: int) -> tuple[float, float]:
    low = BOUNDS[bucket - 1] if bucket > 0 else 0.0
    return low, BOUNDS[bucket] if bucket < len(BOUNDS) else low
