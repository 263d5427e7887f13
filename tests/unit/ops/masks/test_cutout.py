"""Cut-outs: transparent outside the mask, the photo inside."""

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from ops.masks.arrays import encode_mask
from ops.masks.cutout import cut_out


@pytest.fixture
def photo() -> np.ndarray:
    rows, columns = np.mgrid[0:90, 0:60]
    pixels = np.stack([rows * 2, columns * 4, np.full_like(rows, 90)], axis=2)
    return pixels.astype(np.uint8)


@pytest.fixture
def rendition(photo: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(photo, quality=95, colorsubsampling="444")


def opened(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGBA"
        return np.asarray(image)


def mask_of(shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[20:70, 10:40] = True
    return mask


@pytest.mark.parametrize(("image_format", "magic"), [("png", b"\x89PNG"), ("webp", b"RIFF")])
def test_the_goods_are_opaque_and_the_rest_transparent(photo, rendition, image_format, magic):
    mask = mask_of(photo.shape[:2])
    data = cut_out(rendition, encode_mask(mask), image_format=image_format)
    assert data.startswith(magic)
    found = opened(data)
    assert found.shape == (90, 60, 4)
    assert (found[24:66, 14:36, 3] == 255).all()
    assert (found[~mask][:, 3] == 0).all()  # nothing of the background shows
    off = np.abs(found[24:66, 14:36, :3].astype(int) - photo[24:66, 14:36])
    assert off.mean() < 4


def test_a_trimmed_cut_out_has_a_small_margin(photo, rendition):
    data = cut_out(
        rendition, encode_mask(mask_of(photo.shape[:2])), image_format="png", trimmed=True
    )
    assert opened(data).shape == (50 + 2 * 3, 30 + 2 * 3, 4)


def test_a_mask_of_another_size_is_scaled(photo, rendition):
    half = mask_of(photo.shape[:2])[::2, ::2]
    found = opened(cut_out(rendition, encode_mask(half), image_format="png"))
    assert found.shape == (90, 60, 4)
    assert found[45, 25, 3] == 255
    assert found[5, 5, 3] == 0


def test_an_empty_mask_gives_a_transparent_photo(photo, rendition):
    empty = encode_mask(np.zeros(photo.shape[:2], bool))
    for trimmed in (False, True):
        found = opened(cut_out(rendition, empty, image_format="webp", trimmed=trimmed))
        assert found.shape == (90, 60, 4)
        assert not found[..., 3].any()


def test_a_photo_of_one_row_is_cut_out():
    row = np.full((1, 640, 3), 120, np.uint8)
    mask = np.zeros((1, 640), bool)
    mask[0, 100:300] = True
    found = opened(
        cut_out(simplejpeg.encode_jpeg(row), encode_mask(mask), image_format="png", trimmed=True)
    )
    assert found.shape[0] == 1
    assert found[0, found.shape[1] // 2, 3] == 255


def test_a_damaged_rendition_raises():
    with pytest.raises(OSError, match="identify"):
        cut_out(b"\xff\xd8nothing", encode_mask(np.ones((3, 3), bool)), image_format="png")
