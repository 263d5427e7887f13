"""Masks that people upload: what is a mask, and which are refused as ambiguous."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ops.masks.arrays import decode_mask
from ops.masks.uploaded import UnusableMask, read_mask

WIDTH, HEIGHT = 48, 64
TRUTH = np.zeros((HEIGHT, WIDTH), bool)
TRUTH[10:50, 8:30] = True
GREY = Image.fromarray(TRUTH.astype(np.uint8) * 255)


def png(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def read(data: bytes) -> np.ndarray:
    return decode_mask(read_mask(data, width=WIDTH, height=HEIGHT))


def grey_palette() -> Image.Image:
    image = Image.fromarray(TRUTH.astype(np.uint8) * 3).convert("P")
    image.putpalette([0, 0, 0] * 3 + [255, 255, 255] + [0, 0, 0] * 252)
    return image


def cut_out_of() -> Image.Image:
    image = Image.new("RGB", GREY.size, (200, 30, 30))
    image.putalpha(GREY)
    return image


@pytest.mark.parametrize(
    "image",
    [
        GREY,
        GREY.convert("1"),
        GREY.convert("RGB"),
        GREY.convert("RGBA"),
        GREY.convert("LA"),
        grey_palette(),
        cut_out_of(),
        Image.fromarray(TRUTH.astype(np.uint16) * 65535),
    ],
    ids=["L", "1", "RGB", "RGBA", "LA", "palette of greys", "cut-out", "16 bits"],
)
def test_a_mask_is_read_in_each_form_of_a_png(image):
    np.testing.assert_array_equal(read(png(image)), TRUTH)


def test_transparency_by_a_key_is_outside():
    data = png(Image.fromarray(np.where(TRUTH, 80, 7).astype(np.uint8)), transparency=7)
    np.testing.assert_array_equal(read(data), TRUTH)


def test_grey_values_are_divided_at_the_middle():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    found = decode_mask(read_mask(png(Image.fromarray(ramp)), width=256, height=4))
    np.testing.assert_array_equal(found, ramp >= 128)


def test_another_size_of_the_same_proportions_is_scaled():
    large = GREY.resize((WIDTH * 3, HEIGHT * 3), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(read(png(large)), TRUTH)


def test_all_black_is_an_empty_mask_and_all_white_a_full_one():
    assert not read(png(Image.new("L", GREY.size, 0))).any()
    assert read(png(Image.new("L", GREY.size, 255))).all()


def colours() -> Image.Image:
    return Image.merge("RGB", (GREY, GREY, Image.new("L", GREY.size, 0)))


def palette_of_classes() -> Image.Image:
    image = Image.fromarray(TRUTH.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0] + [0, 0, 0] * 254)
    return image


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (png(GREY.transpose(Image.Transpose.ROTATE_90)), "mask_size"),
        (png(GREY.resize((640, 1))), "mask_size"),
        (png(colours()), "mask_channels"),
        (png(palette_of_classes()), "mask_palette"),
        (png(Image.fromarray(TRUTH.astype(np.uint8))), "mask_values"),  # numbers of classes
        (png(GREY)[:60], "mask_broken"),
        (png(GREY)[:-30], "mask_broken"),
        (b"", "not_a_png"),
        (b"\xff\xd8\xff\xe0 a JPEG", "not_a_png"),
    ],
)
def test_what_is_no_mask_of_the_photo_is_refused_with_its_reason(data, code):
    with pytest.raises(UnusableMask) as refused:
        read(data)
    assert refused.value.code == code


def test_a_small_file_of_a_huge_picture_is_refused_before_it_is_decoded():
    header = png(Image.new("1", (3, 4)))
    huge = header[:16] + (60_000).to_bytes(4, "big") + (80_000).to_bytes(4, "big") + header[24:]
    with pytest.raises(UnusableMask):
        read(huge)


@given(st.data())
def test_damaged_files_are_refused_or_read_and_nothing_else_is_raised(data):
    file = bytearray(png(GREY))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnusableMask):
        read(bytes(file))
