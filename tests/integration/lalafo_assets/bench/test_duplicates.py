"""The benches of duplicates that need a PostgreSQL: of candidates, and of ads that come."""

import json

import pytest

from lalafo_assets.bench.duplicates.growth import run_growth
from lalafo_assets.bench.duplicates.live.ads import planned_ads
from lalafo_assets.bench.duplicates.live.run import LiveBench, run_live
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


@pytest.mark.slow
def test_every_ad_that_comes_is_decided() -> None:
    """By a finder and an indexer of their own; each copy is found or named."""
    asked = LiveBench(folders=(), rate=5, seconds=4, before=12)
    found = json.loads(run_live(asked, bench_console(True)))
    assert (found["ads"], found["before"], found["photos"]) == (20, 12, 50)
    assert 0 < found["decided_p50_ms"] <= found["decided_p99_ms"] <= found["decided_max_ms"]
    assert found["copies"] == 2
    assert found["copies_found"] + sum(found["missed"].values()) == 2
    assert found["counts"]["ads"] >= 32
    assert all(found["cpu_ms_an_ad"][name] > 0 for name in ("finder", "indexer", "postgres"))


def test_a_tenth_of_the_ads_that_come_are_copies() -> None:
    """Of an ad before them; the same seed plans the same ads."""
    one, other = (list(planned_ads((), before=5, live=20, seed=3)) for _ in range(2))
    assert one == other
    copies = [ad for ad in one if ad.original is not None]
    assert [ad.number for ad in copies] == [10, 20]
    assert all(ad.original is not None and ad.original < ad.number for ad in copies)
    assert sum(len(ad.photos) for ad in one[5:]) == 50
    sha256s = [photo.sha256 for ad in one for photo in ad.photos]
    assert len(set(sha256s)) == len(sha256s)
