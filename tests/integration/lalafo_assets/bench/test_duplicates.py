"""The bench of candidates measures every look-up at each size, on a PostgreSQL of its own."""

import json

import pytest

from lalafo_assets.bench.duplicates.growth import run_growth
from lalafo_assets.bench.harness.progress import bench_console


@pytest.mark.slow
def test_every_look_up_is_measured_at_each_size() -> None:
    """A near photo that is there is found, or the bench fails."""
    found = json.loads(run_growth([400, 200], searches=20, console=bench_console(True)))
    assert [size["ads"] for size in found["sizes"]] == [200, 400]
    names = {"same_bytes", "near_hash", "no_near_hash", "seller", "partners", "all"}
    for size in found["sizes"]:
        assert {name for name in size if name != "ads"} == names
        assert all(size[name]["p99_ms"] >= size[name]["p50_ms"] > 0 for name in names)
