"""A mask over its photo: dark outside, an edge, the photo inside."""

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from ops.masks.arrays import encode_mask
from ops.pictures.masks import with_mask


def test_what_is_outside_is_dark_and_what_is_inside_is_the_photo():
    photo = np.full((300, 200, 3), 200, np.uint8)
    mask = np.zeros((300, 200), bool)
    mask[100:220, 50:150] = True
    drawn = with_mask(simplejpeg.encode_jpeg(photo, quality=95), encode_mask(mask))
    with Image.open(io.BytesIO(drawn)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[:2] == (300, 200)
    assert abs(pixels[160, 100] - 200).max() < 12
    assert pixels[20, 20].max() < 85
    edge = pixels[100, 100]
    assert edge[0] - edge[2] > 80  # yellow


@pytest.mark.parametrize("shape", [(1, 640), (640, 1), (640, 640)])
def test_photos_of_any_shape_are_drawn(shape: tuple[int, int]):
    photo = simplejpeg.encode_jpeg(np.full((*shape, 3), 90, np.uint8))
    for inside in (False, True):
        drawn = with_mask(photo, encode_mask(np.full(shape, inside)))
        with Image.open(io.BytesIO(drawn)) as image:
            assert max(image.size) <= 320


def test_a_mask_of_another_size_is_scaled():
    photo = simplejpeg.encode_jpeg(np.full((60, 80, 3), 220, np.uint8))
    mask = np.zeros((30, 40), bool)
    mask[:, 20:] = True
    with Image.open(io.BytesIO(with_mask(photo, encode_mask(mask)))) as image:
        grey = np.asarray(image.convert("L")).astype(int)
    assert grey[:, :30].mean() < 100 < 180 < grey[:, 60:].mean()


def test_a_damaged_photo_raises():
    with pytest.raises(OSError, match="identify"):
        with_mask(b"no photo", encode_mask(np.ones((2, 2), bool)))
