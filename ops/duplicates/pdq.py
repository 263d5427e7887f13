"""PDQ, a perceptual hash of 256 bits, of a photo and of its mirror image.

After the specification of Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm" (2019), section "PDQ". Photos that were scaled or encoded again have
hashes that differ in few bits; unrelated ones differ in about 128.

All steps up to the median are linear, so that the two box filters and the sampling after them are
one matrix a side, and the mirror image needs no second pass.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BITS = 256
SAMPLES = 64  # rows and columns after the filter
SIDE = 16  # rows and columns of frequencies that are kept
SMALLEST = 5  # pixels: the specification gives no hash for a smaller photo
LEAST_QUALITY = 50
"""Below it a photo has too little detail for its hash to say anything (the specification's own
advice). A uniform photo has 0."""


class Pdq(NamedTuple):
    """`hash` and `mirrored`: 32 bytes each, the highest frequency first. `quality`: 0 to 100, how
    much detail there is."""

    hash: bytes
    mirrored: bytes
    quality: int


def pdq(luma: NDArray[np.uint8]) -> Pdq:
    """The hash of a photo; bits of zero and quality 0 for one with a side below SMALLEST.

    Args:
        luma: (H, W) uint8, ITU-R BT.601, upright, uncropped; best at most 1,024 pixels a side.
    """
    height, width = luma.shape
    if min(height, width) < SMALLEST:
        return Pdq(bytes(BITS // 8), bytes(BITS // 8), 0)
    samples = _samples_of(height) @ luma.astype(np.float32) @ _samples_of(width).T
    waves = _cosines()
    frequencies = waves @ samples @ waves.T
    return Pdq(_bits(frequencies), _bits(frequencies * _MIRROR), _quality(samples))


def distance(one: bytes, other: bytes) -> int:
    """The number of bits, 0 to 256, in which two hashes differ."""
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


_MIRROR = np.where(np.arange(SIDE) % 2 == 0, -1, 1).astype(np.float32)
"""cos((2 (63 - x) + 1) k pi / 128) = (-1)**k cos((2 x + 1) k pi / 128), and column 0 has k = 1."""


def _bits(frequencies: NDArray[np.float32]) -> bytes:
    """One bit for each frequency above the lower median; the last frequency is the first bit."""
    flat = frequencies.ravel()
    median = np.partition(flat, BITS // 2 - 1)[BITS // 2 - 1]
    return np.packbits((flat > median)[::-1]).tobytes()


def _quality(samples: NDArray[np.float32]) -> int:
    """The sum of the differences of neighbours in whole percents of white, over 90, at most 100."""
    total = 0
    for axis in (0, 1):
        total += int(np.abs(np.trunc(np.diff(samples, axis=axis) * 100 / 255)).sum())
    return min(100, total // 90)


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float32]:
    """Rows 1 to 16 of the discrete cosine transform of 64 samples, (16, 64)."""
    order = np.arange(1, SIDE + 1)[:, None]
    place = 2 * np.arange(SAMPLES)[None] + 1
    waves = np.sqrt(2 / SAMPLES) * np.cos(np.pi / (2 * SAMPLES) * order * place)
    return np.asarray(waves, np.float32)


@lru_cache(maxsize=64)
def _samples_of(length: int) -> NDArray[np.float32]:
    """From a row of pixels to 64 samples, (64, length): two box filters, then every so many."""
    window = -(-length // (2 * SAMPLES))
    ahead = window // 2
    behind = window - 1 - ahead
    place = np.arange(length)
    offset = place[None] - place[:, None]
    box = ((offset <= ahead) & (offset >= -behind)).astype(np.float64)
    box /= box.sum(axis=1, keepdims=True)
    rows = ((np.arange(SAMPLES) + 0.5) * length / SAMPLES).astype(np.int64)
    return (box[rows] @ box).astype(np.float32)
