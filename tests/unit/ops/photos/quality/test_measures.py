"""Borders, collages and blur are measured as they were made."""

import numpy as np
import pytest

from lalafo_assets.bench.quality.degrade import GRIDS, gaussian_blur, jpeg
from ops.photos.quality.seams import find_border, find_collage
from ops.photos.quality.sharpness import sharpness_features

RNG = np.random.default_rng(5)


def texture(height: int, width: int, mean: float = 128) -> np.ndarray:
    """Soft noise, as a photo has it: (H, W) uint8."""
    noise = gaussian_blur(RNG.integers(0, 256, (height, width, 1)).astype(np.uint8), 1.5)[..., 0]
    return np.clip(noise.astype(np.float64) - 128 + mean, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("colour", [0, 255, 90])
@pytest.mark.parametrize(("rows", "columns"), [(40, 0), (0, 60), (30, 50)])
def test_bars_are_found_to_the_pixel(rows: int, columns: int, colour: int) -> None:
    """Above and below, at the left and right, or around."""
    luma = np.full((400, 600), colour, np.uint8)
    inside = (400 - 2 * rows, 600 - 2 * columns)
    luma[rows : 400 - rows, columns : 600 - columns] = texture(
        *inside, mean=180 if colour < 128 else 80
    )
    found = find_border(luma)
    assert found[1:] == (rows, 400 - rows, columns, 600 - columns)
    assert found.share == pytest.approx(1 - inside[0] * inside[1] / 240_000)


def test_white_paper_around_a_product_is_no_border() -> None:
    """A round thing ends at no straight line."""
    luma = np.full((400, 400), 255, np.uint8)
    y, x = np.mgrid[:400, :400]
    luma[(x - 200) ** 2 + (y - 200) ** 2 < 120**2] = 60
    assert find_border(luma).share == 0


@pytest.mark.parametrize("value", [0, 200])
def test_a_uniform_photo_has_neither_border_nor_seams(value: int) -> None:
    """Nothing is inside, and nothing changes."""
    luma = np.full((300, 400), value, np.uint8)
    assert find_border(luma) == (0, 0, 300, 0, 400)
    assert find_collage(luma) == (1, 0)


@pytest.mark.parametrize("gap", [0, 6])
@pytest.mark.parametrize("photos", [2, 4, 9])
def test_the_photos_of_a_collage_are_counted(photos: int, gap: int) -> None:
    """With lines between them and without."""
    rows, columns = GRIDS[photos]
    luma = np.full((480, 600), 255, np.uint8)
    height, width = 480 // rows, 600 // columns
    for index in range(photos):
        top, left = index // columns * height, index % columns * width
        mean = (60, 190, 125)[(index // columns + index % columns) % 3]
        luma[top : top + height - gap, left : left + width - gap] = texture(
            height - gap, width - gap, mean
        )
    inside = luma[: 480 - gap, : 600 - gap]
    assert find_collage(inside).photos == photos


def test_blur_raises_every_slope_and_contrast_does_not() -> None:
    """The measure depends on sharpness alone."""
    luma = np.kron(RNG.integers(0, 2, (40, 60)) * 160 + 40, np.ones((10, 10))).astype(np.uint8)
    blurred = gaussian_blur(luma[..., None], 2)[..., 0]
    sharp, soft = sharpness_features(luma), sharpness_features(blurred)
    faint = sharpness_features((luma // 2 + 60).astype(np.uint8))
    assert sharp is not None and soft is not None and faint is not None
    assert (soft > sharp).all()
    assert np.allclose(sharp, faint, atol=0.02)


def test_a_step_has_the_slope_one_and_a_ramp_two() -> None:
    """As the structure functions of both are known."""
    steps = np.tile((np.arange(640) // 32 % 2 * 200).astype(np.uint8), (480, 1))
    assert sharpness_features(np.full_like(steps, 7)) is None
    square = steps[:480, :480] // 2 + steps[:480, :480].T // 2
    found = sharpness_features(square)
    assert found is not None
    assert np.allclose(found, 1, atol=0.02)
    ramp = np.add.outer(np.arange(120), np.arange(120)).astype(np.uint8)
    slopes = sharpness_features(ramp)
    assert slopes is not None
    # D is 1, 4, 16, 64 and 256, and rounding to code values adds half of one.
    expected = np.repeat(np.log2([4.5 / 1.5, 16.5 / 4.5, 64.5 / 16.5, 256.5 / 64.5]), 2)
    assert np.allclose(slopes, [*expected, *expected], atol=1e-5)


def test_too_small_a_photo_says_nothing_about_blur() -> None:
    """It has no part to measure."""
    assert sharpness_features(np.zeros((30, 640), np.uint8)) is None
    assert sharpness_features(jpeg(np.zeros((64, 64, 3), np.uint8), 85)[..., 0]) is None
