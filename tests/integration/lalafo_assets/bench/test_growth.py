"""`lalafo bench growth` with few ads: every operation does its work on a real PostgreSQL.

The operations check their own results: a commit that accepts fewer ads, a day that is not complete,
or feedback that is not stored is an error. No test asserts how fast it was.
"""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from lalafo_assets.bench.growth.run import run_growth

OPERATIONS = {
    *("lookup", "list_first", "list_middle", "list_by_label", "list_failures"),
    *("statistics", "notices", "feedback"),
    *("propose", "close_a_day", "promote", "rollback"),
    *("lost_ads", "commit_new", "commit_revised"),
    *("upkeep_rows", "upkeep_photos", "upkeep_uploads", "upkeep_releases", "upkeep_requeue"),
}


@pytest.mark.slow
def test_every_operation_runs_at_every_size(tmp_path: Path):
    """The line has every figure, and the chart is drawn."""
    chart = tmp_path / "growth.png"
    found = json.loads(run_growth([1_000, 2_000], chart, Console(file=io.StringIO())))
    assert found["sizes"] == [1_000, 2_000]
    for size in ("1000", "2000"):
        assert set(found["ms"][size]) == OPERATIONS
        assert min(found["ms"][size].values()) > 0
        assert found["disk"][size]["bytes_per_ad"] > 1_000
    assert set(found["growth"]) == OPERATIONS
    assert chart.read_bytes().startswith(b"\x89PNG")
