"""Altered photos are the same photo, with the alteration's name; other photos are not."""

import hashlib
import json

import numpy as np
import pytest

from lalafo_assets.bench.duplicates.alterations import ALTERATIONS, altered
from lalafo_assets.bench.quality.degrade import gamma
from ops.duplicates.photos.changes import Change
from ops.duplicates.photos.photo_pairs import FEATURES
from ops.duplicates.photos.photo_print import PhotoPrint, photo_print
from ops.duplicates.photos.photo_scores import (
    CONSTANTS,
    PhotoAnswer,
    Verdict,
    compare_photos,
    installed_constants,
    probabilities,
)
from ops.errors import ConfigurationError
from ops.photos.pixels import Pixels
from tests.support.detailed_photos import detailed_photo

PHOTOS = [detailed_photo(seed) for seed in (1, 2, 3)]


def made(photo: Pixels) -> PhotoPrint:
    return photo_print(hashlib.sha256(photo.tobytes()).digest(), photo)


def answer(name: str, index: int = 0, seed: int = 0) -> PhotoAnswer:
    copy = altered(name, PHOTOS[index], PHOTOS[1 - index], np.random.default_rng(seed))
    return compare_photos(made(PHOTOS[index]), made(copy))


@pytest.mark.parametrize("name", [it for it in ALTERATIONS if it != "collage"])
def test_an_altered_photo_is_the_same_photo(name: str):
    """Without embeddings too: a photo may come before its embedding."""
    found = answer(name)
    assert found.verdict is Verdict.ALTERED
    assert found.regions is not None
    assert found.changes


def test_other_photos_are_different():
    prints = [made(it) for it in PHOTOS]
    for index, one in enumerate(prints):
        for other in prints[:index]:
            found = compare_photos(one, other)
            assert found.verdict is Verdict.DIFFERENT
            assert (found.changes, found.regions) == ((), None)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mirrored", Change.MIRRORED),
        ("crop_25", Change.CROPPED),
        ("border", Change.BORDERED),
        ("padding", Change.BORDERED),
        ("rotated", Change.ROTATED),
        ("text_band", Change.COVERED),
        ("gamma", Change.LIGHT),
    ],
)
def test_the_alteration_is_named(name: str, change: Change):
    assert change in answer(name).changes


def test_an_encoding_changes_nothing_else():
    assert answer("jpeg_q70").changes == (Change.ENCODED,)


def test_the_same_bytes_and_the_same_pixels_are_exact():
    one = made(PHOTOS[0])
    for other in (one, photo_print(bytes(32), PHOTOS[0])):
        found = compare_photos(one, other)
        assert (found.verdict, found.same_photo, found.changes) == (Verdict.EXACT, 1.0, ())


def test_probabilities_sum_to_at_most_one():
    for name in ("gamma", "crop_25"):
        found = answer(name, index=1)
        assert 0 <= found.same_photo + found.same_thing <= 1 + 1e-9


def test_two_black_photos_are_not_altered_copies():
    black = made(np.zeros((300, 400, 3), np.uint8))
    dark = made(np.full((280, 400, 3), 2, np.uint8))
    assert compare_photos(black, dark).verdict is Verdict.DIFFERENT


def test_a_dark_copy_of_a_photo_is_still_found():
    assert compare_photos(made(PHOTOS[0]), made(gamma(PHOTOS[0], 2.2))).verdict is Verdict.ALTERED


def test_the_constants_are_of_these_measures():
    constants = json.loads(CONSTANTS.read_text())
    assert len(constants["mean"]) == len(FEATURES)
    assert 0.5 <= constants["same_thing"] <= 1
    assert 0.5 <= constants["same_photo"] < 1


def test_constants_of_other_measures_are_refused():
    constants = {**installed_constants(), "mean": [0.0]}
    with pytest.raises(ConfigurationError, match="fit them again"):
        probabilities(np.zeros((1, len(FEATURES))), constants)
