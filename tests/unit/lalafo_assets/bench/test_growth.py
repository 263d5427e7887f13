"""The pure parts of `lalafo bench growth`: medians, the line's figures, the chart, the batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lalafo_assets.bench.growth.chart import draw
from lalafo_assets.bench.growth.operations import Operation, median_ms, numbers
from lalafo_assets.bench.growth.run import check_disk_space, summary
from lalafo_assets.bench.growth.session_operations import make_batch
from ops.errors import ConfigurationError


def test_an_operation_is_prepared_before_each_call():
    """Every call has its own preparation and number; the first ones are not counted."""
    calls: list[tuple[str, int]] = []
    operation = Operation(
        "commit",
        lambda number: calls.append(("run", number)),
        lambda number: calls.append(("prepare", number)),
        times=2,
        warm=1,
    )
    assert median_ms(operation) >= 0
    assert calls == [(step, n) for n in range(3) for step in ("prepare", "run")]


def test_growth_compares_the_last_size_with_the_first():
    """By operation, as a ratio of medians."""
    medians = {1_000: {"commit": 5.0, "lookup": 0.5}, 100_000: {"commit": 5.5, "lookup": 2.0}}
    found = summary([1_000, 100_000], medians, {1_000: {"gb": 1}, 100_000: {"gb": 2}})
    assert found["growth"] == {"commit": 1.1, "lookup": 4.0}
    assert found["ms"] == {
        "1000": {"commit": 5.0, "lookup": 0.5},
        "100000": {"commit": 5.5, "lookup": 2.0},
    }
    assert found["disk"] == {"1000": {"gb": 1}, "100000": {"gb": 2}}


def test_a_catalogue_that_does_not_fit_on_the_disk_is_refused(tmp_path: Path):
    """Before anything is filled."""
    check_disk_space(tmp_path, 1)
    with pytest.raises(ConfigurationError, match="lower --sizes"):
        check_disk_space(tmp_path, 10**12)


def test_a_batch_has_new_photos_with_unit_vectors():
    """2.5 photos an ad on average, each with a rendition and an embedding; offsets in order."""
    batch = make_batch([f"{n:09d}" for n in range(8)], 3, offset=100)
    photos = [photo.sha256 for ad in batch.ads for photo in ad.photos]
    assert len(set(photos)) == len(photos) == 20
    assert {rendition.photo_sha256 for rendition in batch.renditions} == set(photos)
    assert [embedding.sha256 for embedding in batch.embeddings] == photos
    lengths = [np.linalg.norm(e.vector.astype(np.float32)) for e in batch.embeddings]
    assert lengths == pytest.approx(np.ones(20), abs=1e-3)
    assert batch.next_offsets == {0: 108}
    assert {ad.event.revision for ad in batch.ads} == {3}


def test_numbers_are_the_same_at_every_call():
    """At random, none twice, all below the number of ads."""
    first, again = (list(numbers(500, 3)) for _ in range(2))
    assert first == again != sorted(first)
    assert sorted(first) == list(range(500))
    assert isinstance(numbers(5, 1), Iterator)


def test_the_chart_is_a_picture(tmp_path: Path):
    """With a line for each operation."""
    names = ("lookup", "commit_new", "promote", "upkeep_rows")
    medians = {size: dict.fromkeys(names, size / 1_000) for size in (1_000, 10_000)}
    path = tmp_path / "below" / "growth.png"
    draw(path, [1_000, 10_000], medians)
    assert path.read_bytes().startswith(b"\x89PNG")
