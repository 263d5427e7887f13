"""`lalafo bench start` on a real stack: its ad is scored, and the moments are in order."""

import json

import pytest

from lalafo_assets.bench.start.run import run_bench

pytestmark = [pytest.mark.stack]


@pytest.mark.timeout(300)
def test_a_start_is_measured_until_its_first_ad_is_scored() -> None:
    """Each start has a gateway before its ad; the medians are those of the counted starts."""
    said: list[str] = []
    found = json.loads(run_bench(rounds=1, on_progress=said.append))
    (start,) = found["starts"]
    assert 0 < start["gateway_s"] < start["first_ad_s"]
    assert start["up_s"] > start["gateway_s"]
    assert {name: found[name] for name in start} == start
    assert said == ["preparing the home", "start 1 of 1"]
