"""`lalafo bench stream` for a few seconds: it measures, loses nothing, and its figures agree.

No test asserts how fast it was.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lalafo_assets.bench.kafka.server import KafkaServer

pytestmark = [pytest.mark.kafka, pytest.mark.stack, pytest.mark.timeout(900)]

RATE, SECONDS, PHOTOS_PER_AD = 5, 4, 2.5
KEYS = {
    *("ads", "photos", "lost", "doubled", "p50_ms", "p99_ms", "max_ms", "photos_per_s"),
    *("baseline_photos_per_s", "ratio", "cpu_s_per_photo", "rss_mb", "stages", "broker"),
    *("sessions", "partitions"),
}


def test_a_short_run_on_apache_kafka(kafka_server: KafkaServer, tmp_path: Path):
    """The line has every key, no ad is lost or doubled, and the plot is written."""
    picture = tmp_path / "latency.png"
    done = bench_stream(
        *(f"--rate={RATE}", f"--seconds={SECONDS}", f"--photos-per-ad={PHOTOS_PER_AD}"),
        *(f"--plot={picture}", "--explain", "--without-storing", "--with-search"),
        environment=kafka_server.exports(),
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert set(found) >= KEYS
    ads = RATE * SECONDS
    assert (found["ads"], found["photos"]) == (ads, round(ads * PHOTOS_PER_AD))
    assert (found["lost"], found["doubled"], found["wrong"]) == (0, 0, {})
    assert 0 < found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert 0 < found["baseline_p50_ms"] <= found["baseline_p99_ms"] <= found["baseline_max_ms"]
    assert found["ratio"] == pytest.approx(
        found["photos_per_s"] / found["baseline_photos_per_s"], rel=0.02
    )
    assert found["untimed"] == 0
    assert found["partitions"] == 1
    assert found["sessions"] >= found["runs"] == 1
    assert found["rss_mb"] > 100
    assert found["cpu_s_per_photo"] > 0
    assert {"kafka_to_poll", "photos", "embed", "commit_and_waits"} <= set(found["stages"])
    assert found["broker"] == f"Kafka at {kafka_server.bootstrap}"
    assert sum(found["spike_causes"].values()) == found["spikes"]
    assert found["unstored_baseline_photos_per_s"] > 0
    assert found["searchable_ads"] == ads
    assert found["searchable_p50_ms"] <= found["searchable_p99_ms"] <= found["searchable_max_ms"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_without_apache_kafka_it_says_what_to_do(tmp_path: Path):
    """Without Java and without --embedded it says what to do, before anything starts."""
    done = bench_stream(
        *("--rate=1", "--seconds=2"),
        environment={"PATH": str(tmp_path), "LALAFO_KAFKA_BOOTSTRAP": ""},
    )
    assert done.returncode == 1
    assert "--embedded" in done.stderr
    assert "Java" in done.stderr


def bench_stream(*options: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "lalafo_assets.cli", "bench", "stream", *options, "--json"],
        env={**os.environ, "LALAFO_STREAM_ID": "", **environment},
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
