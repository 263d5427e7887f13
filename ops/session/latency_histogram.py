"""Latency histogram with log-spaced buckets; counts of several minutes and sessions can be added.

The bounds go from 1 ms to 120 s, each 11.9 % above the one before. The error of a percentile is
below 11.9 % of its value between the bounds, and below 1 ms under 1 ms. A percentile above 120 s
is reported as 120 s.
"""

from bisect import bisect_right
from collections.abc import Mapping

FIRST_MS, LAST_MS = 1.0, 120_000.0
_STEPS = 104
RATIO = (LAST_MS / FIRST_MS) ** (1 / _STEPS)
BOUNDS = (*(FIRST_MS * RATIO**n for n in range(_STEPS)), LAST_MS)
"""Ascending, ms. Bucket n holds BOUNDS[n - 1] <= ms < BOUNDS[n]; the first bucket holds
everything below the first bound, the last everything from the last bound on."""


def bucket_of(ms: float) -> int:
    """The bucket of a latency, 0 to len(BOUNDS)."""
    return bisect_right(BOUNDS, ms)


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """A percentile of the latencies, ms; None where there are none.

    Interpolates between ranks like numpy's `percentile`, with the latencies of one bucket spread
    evenly over it. The error is below (RATIO - 1) of the exact value, plus 1 ms below 1 ms.

    Args:
        counts: the number of latencies by bucket.
        share: the percentile as a share, 0 to 1.
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
    """The latency of a rank (0 is the smallest); those of one bucket are spread evenly over it."""
    before = 0
    for bucket in sorted(counts):
        if rank < before + counts[bucket]:
            low, high = _edges(bucket)
            return low + (high - low) * (rank - before + 0.5) / counts[bucket]
        before += counts[bucket]
    raise ValueError(f"rank {rank} is out of range for {before} latencies")


def _edges(bucket: int) -> tuple[float, float]:
    low = BOUNDS[bucket - 1] if bucket > 0 else 0.0
    return low, BOUNDS[bucket] if bucket < len(BOUNDS) else low
