"""The hash is PDQ: the expected values are those of the package pdqhash 0.2.8 (Meta's own code)."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lalafo_assets.bench.quality.degrade import gamma, jpeg
from lalafo_assets.bench.quality.series import drawn_photos
from ops.duplicates.pdq import BITS, distance, pdq


def waves(height: int, width: int, a: int, b: int, c: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return ((x * a + y * b + x * y // c) % 256).astype(np.uint8)


EXPECTED = {
    (96, 128, 3, 5, 7): (
        "7aadd5ad696ddb6d36cd4ccd9999e39d8e187838c0f81ff8ff800000ffa00541",
        "2ff080f83c788e386319199d4ccc364cdb4d2d6dd5ad4aadaa555555ab555515",
    ),
    (40, 50, 11, 2, 3): (
        "5d1555e8dd2bb5ba968a555db55a295a494abb0a716ae35186913f31fc7181e0",
        "085004fdc07ee4efc7df4018e00f7c1f1c1fef5f643fb604d3c46a64a924d4b5",
    ),
    (300, 517, 1, 2, 90): (
        "ab5b5a5bb6da6c9fd9933337e6321c30f07381f03ff0ff000000ff630200ff63",
        "fe0f0f0de38539c58cc5666593654965a525d4a56aa5aa555555aa555555ab55",
    ),
    (640, 480, 2, 1, 301): (
        "d6d5aad5d6d5aabf52aab4aa6daa99aa73aa87ab3f02f000000ad52b292ad52f",
        "8180ff808180ffc007ffe1ff38f5ccf526ffd2d46a55a55555558054547f8054",
    ),
}


@pytest.mark.parametrize("shape", EXPECTED)
def test_the_hash_is_that_of_the_reference(shape: tuple[int, int, int, int, int]):
    """Up to rounding: a frequency that equals the median may fall on either side of it."""
    found = pdq(waves(*shape))
    expected = [bytes.fromhex(it) for it in EXPECTED[shape]]
    assert distance(found.hash, expected[0]) <= 2
    assert distance(found.mirrored, expected[1]) <= 4
    assert found.quality == 100


def luma(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.rint(photo @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def test_the_mirrored_hash_is_the_hash_of_the_mirror_image():
    for photo in drawn_photos(seed=5, count=6):
        found, mirrored = pdq(luma(photo)), pdq(luma(photo)[:, ::-1])
        assert distance(found.mirrored, mirrored.hash) <= 20  # samples are not symmetric
        assert distance(found.hash, mirrored.mirrored) <= 20


def test_a_copy_is_near_and_another_photo_is_far():
    photos = drawn_photos(seed=6, count=8)
    hashes = [pdq(luma(it)).hash for it in photos]
    copies = [pdq(luma(jpeg(gamma(it, 1.3), 50))).hash for it in photos]
    for index, copy in enumerate(copies):
        distances = [distance(copy, it) for it in hashes]
        assert distances[index] <= 31
        assert min(it for at, it in enumerate(distances) if at != index) > 50


def test_half_of_the_bits_are_set():
    for photo in drawn_photos(seed=7, count=4):
        assert int.from_bytes(pdq(luma(photo)).hash).bit_count() == BITS // 2


@pytest.mark.parametrize("shape", [(1, 1), (4, 300), (300, 4)])
def test_a_tiny_photo_has_no_hash(shape: tuple[int, int]):
    found = pdq(np.full(shape, 9, np.uint8))
    assert found == (bytes(32), bytes(32), 0)


def test_a_photo_of_one_colour_has_the_quality_0():
    assert pdq(np.full((200, 300), 128, np.uint8)).quality == 0


def test_odd_shapes_have_a_hash():
    for shape in ((5, 5), (5, 640), (63, 65), (129, 127)):
        found = pdq(waves(*shape, 3, 5, 7))
        assert len(found.hash) == len(found.mirrored) == 32
