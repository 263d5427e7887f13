"""Photos with detail everywhere, as photographs have it: drawn ones have large plain areas."""

import numpy as np
from PIL import Image

from ops.photos.pixels import Pixels

SCALES = ((6, 0.45), (18, 0.3), (54, 0.25))  # cells of the longest side, and how much they count


def detailed_photo(seed: int, *, width: int = 480, height: int = 360) -> Pixels:
    """Random colours in cells of three sizes, smoothed: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells, weight in SCALES:
        shape = (max(2, cells * height // max(width, height)), cells, 3)
        coarse = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        total += weight * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return total.astype(np.uint8)
