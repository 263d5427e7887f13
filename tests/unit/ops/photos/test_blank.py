"""A photo of one colour is blank; one with anything on it is not."""

import io

import numpy as np
import pytest
from PIL import Image

from lalafo_assets.bench.quality.series import drawn_photos
from ops.photos.rendition import make_rendition
from ops.types import PhotoNote


def encoded(pixels: np.ndarray, quality: int = 90, kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, kind, quality=quality)
    return out.getvalue()


def note(data: bytes) -> PhotoNote | None:
    return make_rendition(data, max_pixels=10**7, verify=False).note


def flat(colour: tuple[int, int, int], height: int = 480, width: int = 640) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 40, 40)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photo_of_one_colour_is_blank(colour: tuple[int, int, int], kind: str):
    assert note(encoded(flat(colour), kind=kind)) is PhotoNote.PHOTO_BLANK
    assert note(encoded(flat(colour, 2_000, 1_500), kind=kind)) is PhotoNote.PHOTO_BLANK


def test_the_noise_of_a_dark_sensor_is_no_detail():
    noise = np.abs(np.random.default_rng(1).normal(0, 2, (480, 640, 3)))
    assert note(encoded(noise, quality=85)) is PhotoNote.PHOTO_BLANK


def test_a_small_thing_on_white_is_detail():
    pixels = flat((255, 255, 255))
    pixels[200:248, 300:348] = 30
    assert note(encoded(pixels)) is None


def test_a_photo_is_not_blank():
    for photo in drawn_photos(seed=3, count=3):
        assert note(encoded(photo, quality=30)) is None


def test_a_damaged_photo_of_one_colour_is_left_to_its_decoder():
    data = encoded(flat((9, 9, 9)))
    assert note(data[: len(data) // 2] + data[-2:]) is None
