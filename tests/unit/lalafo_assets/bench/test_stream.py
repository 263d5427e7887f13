"""The pure parts of `lalafo bench stream`: the planned ads, the lost and doubled, the figures."""

import hashlib
import http.client
import io
import json
import math
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest
from PIL import Image

from lalafo_assets.bench.harness.ads import PlannedAd, due_times, photo_counts, plan_ads
from lalafo_assets.bench.harness.figures import (
    AdTiming,
    latency,
    longest_gap_ms,
    percentile,
    photos_per_s,
    searchable,
    stage_medians,
)
from lalafo_assets.bench.harness.options import StreamBench
from lalafo_assets.bench.harness.photo_server import start_photo_server
from lalafo_assets.bench.harness.photos import bench_photos
from lalafo_assets.bench.stream.check import StoredAds, judge
from ops.errors import ConfigurationError
from ops.events.parse import EventLimits, parse_event
from ops.types import StreamRecord

ADS = [PlannedAd("a", ("1.jpg", "2.jpg"), 0.0), PlannedAd("b", ("3.jpg",), 0.1)]
GOOD = StoredAds(
    ads={"a": (1, "scored"), "b": (1, "scored")},
    photos=Counter(a=2, b=1),
    predictions=Counter(a=1, b=1),
)


def test_arrivals_keep_the_rate_and_ascend():
    times = due_times(200, 20.0)
    assert times == sorted(times)
    assert all(index / 20 <= at < (index + 1) / 20 for index, at in enumerate(times))
    assert times == due_times(200, 20.0), "the same for both measured runs"
    assert len({round(b - a, 6) for a, b in pairwise(times)}) > 100


def test_all_at_once_means_no_waiting():
    assert due_times(3, 0) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("mean", [1.0, 1.3, 2.5, 3.9, 4.0])
def test_photo_counts_have_exactly_the_requested_mean(mean: float):
    counts = photo_counts(200, mean)
    assert sum(counts) == round(200 * mean)
    assert set(counts) <= {1, 2, 3, 4}


def test_the_usual_mixture_has_ads_of_every_size():
    assert min(Counter(photo_counts(400, 2.5)).values()) > 60


def test_no_photo_is_used_twice():
    names = [f"{n}.jpg" for n in range(250)]
    used = [
        name
        for ad in plan_ads(ads=100, photos_per_ad=2.5, rate=20, names=names)
        for name in ad.photos
    ]
    assert used == names


def test_an_ad_is_a_valid_event():
    value = ADS[0].value("bench", "http://127.0.0.1:80")
    event = parse_event(StreamRecord("ads", 0, 0, 0, b"bench/a", value), EventLimits())
    assert [photo.url for photo in event.photos] == [
        "http://127.0.0.1:80/1.jpg",
        "http://127.0.0.1:80/2.jpg",
    ]


def test_complete_ads_are_neither_lost_nor_doubled():
    verdict = judge(ADS, GOOD, tasks=1)
    assert (dict(verdict.lost), dict(verdict.doubled)) == ({}, {})


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (replace(GOOD, ads={"a": (1, "scored")}), "no row"),
        (replace(GOOD, ads={**GOOD.ads, "b": (1, "received")}), "its status is received"),
        (replace(GOOD, ads={**GOOD.ads, "b": (0, "scored")}), "revision 0, 1 was sent"),
        (replace(GOOD, photos=Counter(a=2)), "0 photos of 1"),
        (replace(GOOD, predictions=Counter(a=1)), "0 predictions for 1 tasks"),
    ],
)
def test_an_ad_with_a_missing_row_is_lost(stored: StoredAds, reason: str):
    assert dict(judge(ADS, stored, tasks=1).lost) == {"b": reason}


def test_an_ad_with_a_failed_photo_is_lost():
    stored = replace(GOOD, photos=Counter(a=1, b=1), without_photo=Counter(a=1))
    assert dict(judge(ADS, stored, tasks=1).lost) == {"a": "1 photos of 2"}


@pytest.mark.parametrize(
    ("stored", "ad_id"),
    [
        (replace(GOOD, photos=Counter(a=3, b=1)), "a"),
        (replace(GOOD, predictions=Counter(a=1, b=2)), "b"),
        (replace(GOOD, ads={**GOOD.ads, "z": (1, "scored")}), "z"),
        (replace(GOOD, predictions=Counter(a=1, b=1, z=1)), "z"),
    ],
)
def test_an_ad_with_a_row_too_many_is_doubled(stored: StoredAds, ad_id: str):
    assert set(judge(ADS, stored, tasks=1).doubled) == {ad_id}


def test_a_percentile_is_a_measured_value():
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert percentile([1.0, 100.0], 0.99) == 100
    assert math.isnan(percentile([], 0.5))


def timing(ad_id: str, sent: float, committed: float | None, photos: int = 1) -> AdTiming:
    return AdTiming(ad_id, photos, sent, committed)


def test_an_ad_without_a_commit_time_counts_with_the_latest():
    figures = latency([timing("a", 10.0, 10.02), timing("b", 10.0, None)], latest=12.0)
    assert figures.p50_ms == pytest.approx(20)
    assert figures.max_ms == pytest.approx(2_000)
    assert figures.untimed == 1


def test_the_first_commit_starts_the_clock_and_is_not_counted():
    timings = [timing("a", 0, 1.0, 4), timing("b", 0, 2.0, 3), timing("c", 0, 3.0, 5)]
    assert photos_per_s(timings) == pytest.approx(4.0)
    assert math.isnan(photos_per_s(timings[:1]))
    assert math.isnan(photos_per_s([]))


def test_an_ad_is_searchable_so_long_after_its_commit():
    timings = [timing("a", 0, 1.0), timing("b", 0, 2.0), timing("c", 0, None), timing("d", 0, 3.0)]
    found = searchable(timings, {"a": 1.1, "b": 2.4, "c": 9.0})
    assert found == {
        **{"searchable_ads": 3, "searchable_p50_ms": 100.0},
        **{"searchable_p99_ms": 400.0, "searchable_max_ms": 400.0},
    }
    assert searchable(timings, {})["searchable_p50_ms"] is None


def test_the_longest_gap_is_after_the_event():
    timings = [timing("a", 0, 1.0), timing("b", 0, 5.0), timing("c", 0, 5.4), timing("d", 0, 7.0)]
    assert longest_gap_ms(timings, since=5.0) == pytest.approx(1_600)
    assert math.isnan(longest_gap_ms(timings, since=8.0))


def test_medians_of_stages():
    ads = [AdTiming(str(n), 1, 0, 1, "", {"fetch": float(n)}) for n in (1, 2, 9)]
    assert stage_medians(ads) == {"fetch": 2.0}


def test_saturate_and_kill_run_two_sessions():
    assert StreamBench().session_count == StreamBench().partition_count == 1
    assert StreamBench(kill=True).session_count == 2
    both = StreamBench(saturate=True)
    assert (both.session_count, both.partition_count, both.baseline_processes) == (2, 2, 2)
    assert both.load_rate == 0
    assert StreamBench(saturate=True, partitions=1).baseline_processes == 1


def test_a_handover_happens_during_the_load():
    minutes = StreamBench(handover=True, seconds=60).session_minutes
    assert minutes is not None
    assert 20 <= minutes * 60 < 60
    assert "LALAFO_SESSION_MINUTES" not in StreamBench().environment()


def test_contradictory_options_are_refused():
    with pytest.raises(ConfigurationError, match="standby"):
        StreamBench(kill=True, sessions=1)
    with pytest.raises(ConfigurationError, match="at least 2 ads"):
        StreamBench(rate=0.1, seconds=1)


def test_photos_are_distinct_and_as_large_as_sellers_photos():
    photos = list(islice(bench_photos(200, folder=None), 200))
    pixels = {hashlib.sha256(Image.open(io.BytesIO(p)).tobytes()).digest() for p in photos}
    assert len(pixels) == len(set(photos)) == 200
    assert 30_000 < sum(map(len, photos)) / 200 < 60_000


def test_the_photo_server_answers_over_a_persistent_connection(tmp_path: Path):
    (tmp_path / "000001.jpg").write_bytes(b"x" * 50_000)
    worker, url = start_photo_server(tmp_path, log_file=tmp_path / "log")
    with worker:
        host, port = url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port))
        for path, status, size in (("/000001.jpg", 200, 50_000), ("/2.jpg", 404, 0)) * 2:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, len(answer.read())) == (status, size)
        connection.close()


def test_a_photo_server_without_photos_is_an_error(tmp_path: Path):
    with pytest.raises(Exception, match=r"contains no \.jpg photo"):
        start_photo_server(tmp_path, log_file=tmp_path / "log")


def test_each_event_of_a_load_is_one_json_object():
    values = [json.loads(ad.value("c", "http://h")) for ad in ADS]
    assert [(v["ad_id"], len(v["photos"])) for v in values] == [("a", 2), ("b", 1)]
