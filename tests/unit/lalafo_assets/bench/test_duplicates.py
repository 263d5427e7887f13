"""The bench of duplicates: the same seed gives the same copies, and figures count what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lalafo_assets.bench.duplicates.alterations import ALTERATIONS, altered, altered_copies
from lalafo_assets.bench.duplicates.fit import masks_of
from lalafo_assets.bench.duplicates.phash import phash
from lalafo_assets.bench.duplicates.rephotographed import rephotographed
from lalafo_assets.bench.duplicates.run import run_bench, threshold_at
from lalafo_assets.bench.duplicates.samples import (
    copies_in_the_data,
    hard_pairs,
    read_samples,
)
from lalafo_assets.bench.photos.files import is_for_fitting
from lalafo_assets.bench.quality.series import drawn_photos
from ops.duplicates.pdq import distance
from ops.errors import ConfigurationError

PHOTOS = drawn_photos(seed=23, count=3)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_is_repeatable_and_changes_the_photo(name: str):
    one, two = (altered(name, PHOTOS[0], PHOTOS[1], np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one, two)
    assert max(one.shape) <= 640
    assert one.shape != PHOTOS[0].shape or not np.array_equal(one, PHOTOS[0])


def test_a_copy_does_not_depend_on_which_others_are_made():
    alone = list(altered_copies(PHOTOS, seed=1, names=("crop_5",)))
    among = list(altered_copies(PHOTOS, seed=1, names=("gamma", "crop_5")))
    chosen = [it for it in among if it.name == "crop_5"]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(alone, chosen, strict=True))


def test_a_collage_shows_two_different_photos():
    for copy in altered_copies(PHOTOS, seed=1, names=("collage",)):
        assert copy.beside is not None
        assert copy.beside != copy.photo


def test_another_photo_of_the_thing_differs_all_over():
    found = rephotographed(PHOTOS[0], np.random.default_rng(1))
    assert found.shape == PHOTOS[0].shape
    assert (np.abs(found.astype(int) - PHOTOS[0]) > 2).mean() > 0.5


def test_the_product_is_put_in_front_of_another_photo():
    mask = np.zeros(PHOTOS[0].shape[:2], np.uint8)
    found = rephotographed(PHOTOS[0], np.random.default_rng(1), mask=mask, behind=PHOTOS[1])
    plain = rephotographed(PHOTOS[0], np.random.default_rng(1))
    assert np.abs(found.astype(int) - plain).mean() > 10


@pytest.mark.parametrize(
    ("score", "same", "precision", "expected"),
    [
        ([3, 2, 1], [True, True, False], 1.0, 2.0),
        ([3, 2, 1], [True, True, False], 0.6, 1.0),
        ([2, 2, 1], [True, False, True], 1.0, float("inf")),  # equal scores stay together
        ([2, 2, 1], [True, False, True], 0.6, 1.0),
    ],
)
def test_the_threshold_is_the_lowest_with_the_precision(
    score: list[float], same: list[bool], precision: float, expected: float
):
    assert threshold_at(np.array(score, float), np.array(same), precision) == expected


def test_copies_in_the_data_are_found_by_their_hashes():
    near = (2**20 - 1).to_bytes(32)
    assert copies_in_the_data([bytes(32), b"\xff" * 32, near]) == {(0, 2)}


def folder_of_photos(tmp_path: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(path)
    return tmp_path


def test_samples_are_of_one_half_and_have_groups(tmp_path: Path):
    folder = folder_of_photos(tmp_path, [f"photos/{it}_kitchen.png" for it in range(12)])
    half = read_samples(folder, 12, for_fitting=False)
    other = read_samples(folder, 12, for_fitting=True)
    assert len(half) + len(other) == 12
    assert all(it.path and not is_for_fitting(it.path.read_bytes()) for it in half)
    assert all(it.groups[1] == "kitchen" and it.groups[0].isdigit() for it in half)
    assert masks_of(half) == {}
    with pytest.raises(ConfigurationError, match="no photo"):
        read_samples(tmp_path / "empty", 3, for_fitting=True)


def test_hard_pairs_are_of_the_group_and_sorted(tmp_path: Path):
    folder = folder_of_photos(tmp_path, [f"shoes/{it}.png" for it in range(8)])
    samples = read_samples(folder, 8, for_fitting=True)
    assert {it.groups for it in samples} == {("shoes",)}
    pairs = hard_pairs(samples, np.eye(len(samples), 4, dtype=np.float32), seed=1)
    assert pairs == sorted(set(pairs))
    assert all(one < other for one, other in pairs)


def test_phash_of_a_copy_is_near():
    greys = [np.asarray(Image.fromarray(it).convert("L")) for it in PHOTOS]
    copy = altered("jpeg_q50", PHOTOS[0], PHOTOS[1], np.random.default_rng(0))
    found = phash(np.asarray(Image.fromarray(copy).convert("L")))
    assert distance(found, phash(greys[0])) <= 6
    assert distance(found, phash(greys[1])) > 12


@pytest.mark.slow
def test_the_bench_prints_its_figures():
    lines: list[str] = []
    found = json.loads(run_bench([], photos=3, on_progress=lines.append))
    assert set(found["recall"]) == set(ALTERATIONS)
    assert all(
        set(it) == {"product", "pdq", "phash", "embeddings"} for it in found["recall"].values()
    )
    assert found["recall"]["jpeg_q90"]["product"] == 1.0
    assert found["false"]["product"] == len(found["false_pairs"])
    assert found["photos"] == {"drawn": 3}
    assert lines[0] == "3 photos"
    assert found["ms_a_pair"]["different"] > 0


def test_two_photos_are_too_few():
    with pytest.raises(ConfigurationError, match="three photos"):
        run_bench([], photos=2, on_progress=print)
