"""pHash, a perceptual hash of 64 bits: one of the baselines of the bench.

After Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), section
3.2.1: 32 by 32 pixels, the 8 by 8 lowest frequencies of the cosine transform, their median.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, KEPT = 32, 8


def phash(grey: NDArray[np.uint8]) -> bytes:
    """The hash of (H, W) uint8 luma: 8 bytes."""
    from scipy.fft import dctn

    small = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    lowest = dctn(np.asarray(small, np.float64))[:KEPT, :KEPT]
    return np.packbits(lowest > np.median(lowest)).tobytes()
