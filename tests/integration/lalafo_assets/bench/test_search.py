"""`lalafo bench search`, small: what it finds is right, and its clients search beside changes.

No test asserts how fast it was.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lalafo_assets.synthetic.photos import generate

pytestmark = pytest.mark.slow


def test_a_small_run() -> None:
    """Nearly all of the nearest are found, before and after; many clients beside changes."""
    command = [sys.executable, "-m", "lalafo_assets.cli", "bench", "search", "--json"]
    sizes = ("--rows=2000", "--dimension=32", "--queries=10")
    together = ("--clients=5", "--replaced-per-s=20", "--seconds=1")
    done = subprocess.run([*command, *sizes, *together], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout)
    for when in ("before", "after"):
        for name in ("all", "tenth", "hundredth"):
            assert found[when][name]["recall_at_10"] >= 0.9, (when, name, found)
    assert found["replacing"]["ads"] == 600
    assert found["together"]["clients"] == 5
    assert found["together"]["searches_per_s"] > 0
    assert 0 < found["together"]["replaced_per_s"] <= 21
    assert 0 < found["together"]["search_p50_ms"] <= found["together"]["search_p99_ms"]


def test_embeddings_of_photos_are_found_among_the_others(tmp_path: Path) -> None:
    """Half of the photos are in the index, and the nearest of the other half are found."""
    for number, photo in enumerate(generate(40, 5)):
        (tmp_path / f"{number}.jpg").write_bytes(photo.data)
    command = [sys.executable, "-m", "lalafo_assets.cli", "bench", "search", "--json"]
    done = subprocess.run(
        [*command, "--rows=1000", "--queries=10", f"--photos={tmp_path}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout)
    assert found["photos"] == [str(tmp_path)]
    for when in ("before", "after"):
        assert found[when]["photos"]["recall_at_10"] >= 0.9, found
