"""Scores follow the amount of a defect, and no photo of any shape breaks them."""

import json

import numpy as np
import pytest

from lalafo_assets.bench.quality.degrade import cut_out, jpeg
from lalafo_assets.bench.quality.run import judge
from lalafo_assets.bench.quality.series import SERIES, Series, drawn_photos
from ops.errors import ConfigurationError
from ops.photos.pixels import Pixels
from ops.photos.quality.scores import (
    DEFECTS,
    FLAG,
    defect_scores,
    head_score,
    overall,
    tiny_score,
)
from ops.tasks.quality import TASK

PHOTOS = drawn_photos(seed=3, count=6)


def scores(photo: Pixels, width: int = 1600, height: int = 1200) -> dict[str, float]:
    return defect_scores(photo, source_width=width, source_height=height, config=TASK.config)


def flags(photo: Pixels) -> set[str]:
    return {name for name, score in scores(photo).items() if score >= FLAG}


def grey(value: int, height: int = 480, width: int = 640) -> Pixels:
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize("series", SERIES, ids=lambda it: it.name)
def test_a_score_follows_the_amount(series: Series) -> None:
    """On photos that the constants were not fitted on. A power of the code values leaves white as
    it is: a photo on white paper is no more underexposed."""
    found = judge(series, PHOTOS)
    first, last = f"{series.amounts[0]:g}", f"{series.amounts[-1]:g}"
    assert found["per_photo"] >= 0.9
    assert found["median_score"][last] > found["median_score"][first] + 0.1
    if series.name != "gamma_down":
        assert found["flagged"][last] > 0.6


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 2), (1, 640), (640, 1), (3, 640), (17, 33), (40, 40)]
)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_photos_of_every_shape_have_scores(shape: tuple[int, int], value: int) -> None:
    """One pixel, one row, one colour: numbers in [0, 1], never NaN, and JSON takes them."""
    found = scores(grey(value, *shape))
    assert list(found) == list(DEFECTS)
    assert all(0 <= score <= 1 for score in found.values())
    json.dumps(found, allow_nan=False)


def test_noise_of_one_row_has_scores() -> None:
    """Neither blocks nor neighbours exist in it."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 640, 3), dtype=np.uint8)
    assert all(0 <= score <= 1 for score in scores(noise).values())


def test_uniform_photos_are_dark_or_bright_and_nothing_else_that_is_measured_by_texture() -> None:
    """Blur, borders and collages can not be seen in them."""
    assert flags(grey(0)) & {"dark", "bright", "blurred", "border", "collage"} == {"dark"}
    assert flags(grey(255)) & {"dark", "bright", "blurred", "border", "collage"} == {"bright"}
    assert not flags(grey(128)) & {"dark", "bright", "blurred", "border", "collage"}


@pytest.mark.parametrize(("ground", "wrong"), [(255, "bright"), (0, "dark")])
def test_a_uniform_ground_is_no_exposure(ground: int, wrong: str) -> None:
    """A product on white paper is not too bright, and one on black velvet is not too dark."""
    for photo in PHOTOS:
        mask = np.zeros(photo.shape[:2], np.uint8)
        height, width = mask.shape
        mask[height // 4 : -height // 4, width // 4 : -width // 4] = 255
        assert wrong not in flags(jpeg(cut_out(photo, mask, ground), 85))


def test_a_black_product_on_white_is_not_dark() -> None:
    """The white beside it is white."""
    rng = np.random.default_rng(1)
    photo = grey(250)
    y, x = np.mgrid[:480, :640]
    inside = ((x - 320) / 220) ** 2 + ((y - 240) / 150) ** 2 < 1
    photo[inside] = rng.integers(8, 60, (int(inside.sum()), 1), dtype=np.uint8)
    assert not flags(photo) & {"dark", "border", "collage"}


def test_strong_jpeg_is_no_defect() -> None:
    """Blocks of 8 pixels are neither text nor seams."""
    for photo in PHOTOS:
        new = flags(jpeg(photo, 15)) - flags(photo)
        assert not new & {"dark", "bright", "graphics", "border", "collage"}


def test_a_greyscale_photo_scores_as_one_in_colour() -> None:
    """Colour is none of the defects."""
    photo = PHOTOS[0]
    pale = np.repeat(photo.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert flags(pale) == flags(photo)


def test_scores_are_the_same_for_the_same_pixels() -> None:
    """And the photo is not changed."""
    photo = PHOTOS[0].copy()
    assert scores(photo) == scores(photo)
    assert np.array_equal(photo, PHOTOS[0])


def test_size_is_that_of_the_sellers_file() -> None:
    """Half a score at tiny_px, more below; a long strip is small; an unknown size is no defect."""
    assert tiny_score(240, 240, 240) == pytest.approx(0.5)
    assert tiny_score(120, 120, 240) == pytest.approx(1 / (1 + np.exp(-3)))
    assert tiny_score(4000, 3000, 240) < 0.001
    assert tiny_score(640, 1, 240) > 0.99
    assert tiny_score(0, 0, 240) == 0


def test_quality_is_what_each_defect_leaves() -> None:
    """The product of 1 - severity x score."""
    severity = dict.fromkeys(DEFECTS, 0.5)
    assert overall(dict.fromkeys(DEFECTS, 0.0), severity) == 1
    assert overall({**dict.fromkeys(DEFECTS, 0.0), "dark": 1.0, "tiny": 0.5}, severity) == 0.375


def test_a_head_of_other_features_is_refused() -> None:
    """A release of another version of the task says what to do."""
    with pytest.raises(ConfigurationError, match="dark reads 2 features; this version measures 3"):
        head_score("dark", np.zeros(3), {"dark": {"mean": [1.0, 2.0]}})
