"""`lalafo bench rescore` with few rows: both runs score every row, and the line has every key."""

import json

import pytest

from lalafo_assets.bench.rescore.run import RescoreProgress, run_bench


@pytest.mark.parametrize("photos_per_ad", [1.0, 2.5])
def test_measures_both_ways(photos_per_ad):
    """The re-score and the baseline score every row in real processes; the line is complete."""
    filled: list[int] = []
    scored: dict[str, list[int]] = {}
    on_progress = RescoreProgress(
        filled.append, lambda name, count: scored.setdefault(name, []).append(count)
    )
    line = run_bench(rows=2_000, photos_per_ad=photos_per_ad, rounds=1, on_progress=on_progress)
    found = json.loads(line)
    assert "\n" not in line
    assert filled[-1] == 2_000
    assert scored["round 1 of 1, rescore"][-1] == 2_000
    assert (found["rows"], found["photos_per_ad"], found["rounds"]) == (2_000, photos_per_ad, 1)
    for key in ("rows_per_s", "baseline_rows_per_s", "ratio", "rss_mb", "cpu_s_per_million"):
        assert found[key] > 0
