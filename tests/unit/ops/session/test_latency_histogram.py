"""Latency histogram: percentiles equal numpy's, within the documented error."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.session.latency_histogram import BOUNDS, LAST_MS, RATIO, bucket_of, percentile

LATENCIES = st.lists(st.floats(0, LAST_MS, exclude_max=True), min_size=1, max_size=200)
SHARES = st.floats(0, 1)


def test_the_bounds_are_fine_enough() -> None:
    """From 1 ms to 120 s, none more than 12 % above the one before."""
    assert BOUNDS[0] == 1.0 and BOUNDS[-1] == 120_000.0
    steps = np.diff(np.log(BOUNDS))
    assert steps.min() > 0 and np.exp(steps.max()) < 1.12
    assert RATIO < 1.12


@pytest.mark.parametrize(
    ("ms", "bucket"),
    [(-5.0, 0), (0.0, 0), (0.999, 0), (1.0, 1), (119_999.0, 104), (120_000.0, 105), (1e9, 105)],
)
def test_every_latency_has_a_bucket(ms: float, bucket: int) -> None:
    """Also impossible ones: the clock was set, the session was suspended."""
    assert bucket_of(ms) == bucket


@given(st.floats(1.0, LAST_MS, exclude_max=True))
def test_a_latency_lies_within_its_bucket(ms: float) -> None:
    bucket = bucket_of(ms)
    assert BOUNDS[bucket - 1] <= ms < BOUNDS[bucket]


@given(LATENCIES, SHARES)
def test_percentiles_are_numpys_within_the_bound(latencies: list[float], share: float) -> None:
    """For any number and distribution of latencies."""
    found = percentile(Counter(map(bucket_of, latencies)), share)
    exact = float(np.percentile(latencies, share * 100))
    assert found is not None
    assert abs(found - exact) <= (RATIO - 1) * exact + 1.0
    if min(latencies) >= 1.0:
        assert exact / RATIO * (1 - 1e-9) <= found <= exact * RATIO * (1 + 1e-9)


def test_percentiles_of_many_are_closer_than_the_bound() -> None:
    """For a typical busy minute, interpolation within the buckets reduces the error."""
    latencies = np.random.default_rng(3).lognormal(3.5, 0.6, 20_000)
    counts = Counter(map(bucket_of, latencies.tolist()))
    for share in (0.5, 0.9, 0.99):
        exact = float(np.percentile(latencies, share * 100))
        assert percentile(counts, share) == pytest.approx(exact, rel=0.02)


def test_there_is_no_percentile_without_latencies() -> None:
    assert percentile({}, 0.5) is None
    assert percentile({7: 0}, 0.5) is None


def test_a_latency_above_all_bounds_is_reported_as_the_last_bound() -> None:
    assert percentile({bucket_of(1e7): 3}, 0.99) == LAST_MS


@given(LATENCIES, LATENCIES, SHARES)
def test_counts_add_up(some: list[float], others: list[float], share: float) -> None:
    """The counts of two sessions added equal those of one session with both latencies."""
    apart = Counter(map(bucket_of, some)) + Counter(map(bucket_of, others))
    assert percentile(apart, share) == percentile(Counter(map(bucket_of, some + others)), share)
