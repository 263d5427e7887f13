"""Measures how blurred the sharpest parts of a photo are, as features of a small network.

A blurred background behind a sharp product is no defect, so the sharpest tenth of the textured
parts counts beside their median. The measure is a ratio of differences at two distances: contrast,
light and the amount of texture cancel out.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BLOCK = 32  # pixels of the side of a part
DISTANCES = (1, 2, 4, 8, 16)  # pixels
SHARES = (0.1, 0.5)  # of the textured parts, from the sharpest
TEXTURED = 60.0  # mean squared difference at the largest distance; a flat part has less
FAINTEST = 8.0  # the same where few parts have texture: more than JPEG leaves of a flat part
FEWEST = 3  # textured parts; below it blur is not measured
NOISE = 0.5  # mean squared difference that rounding to code values makes at any distance

FEATURES = tuple(
    f"{which}_{near}_{far}_{share}"
    for which in ("blurriest", "sharpest")
    for near, far in pairwise(DISTANCES)
    for share in SHARES
)
"""The names of the features, in their order."""


def sharpness_features(luma: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """The slopes of a photo's structure function, (len(FEATURES),) float64, finite.

    The structure function D(r) is the mean squared difference of pixels at distance r (Kolmogorov
    1941, for turbulence). Between r and 2r its slope log2(D(2r) / D(r)) is 1 at a step between two
    areas, since a step adds to D in proportion to r, and 2 where a blur is wider than 2r, since
    neighbours differ in proportion to r there. It is taken along rows and along columns, and the
    blurriest of both finds motion blur.

    Args:
        luma: (H, W) uint8.

    Returns:
        None where there are too few textured parts: a uniform photo, or one of a few pixels.
    """
    margin = DISTANCES[-1]
    if min(luma.shape) < BLOCK + margin:
        return None
    values = luma.astype(np.float32)
    along = [_structure(values), _structure(np.ascontiguousarray(values.T)).swapaxes(1, 2)]
    rows = min(it.shape[1] for it in along)
    columns = min(it.shape[2] for it in along)
    slopes = []
    for function in along:
        parts = function[:, :rows, :columns].reshape(len(DISTANCES), -1)
        textured = parts[:, parts[-1] > TEXTURED] + NOISE
        if textured.shape[1] < FEWEST:  # a strong blur leaves little contrast anywhere
            strongest = np.argsort(-parts[-1], kind="stable")[:FEWEST]
            textured = parts[:, strongest] + NOISE
            if len(strongest) < FEWEST or textured[-1].min() < FAINTEST:
                return None
        slope = np.log2(textured[1:] / textured[:-1])
        slopes.append(np.quantile(slope, SHARES, axis=1).T.ravel())
    both = np.array(slopes)
    return np.concatenate([both.max(axis=0), both.min(axis=0)])


def _structure(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean squared difference down the columns, (len(DISTANCES), rows, columns) of parts."""
    height = (values.shape[0] - DISTANCES[-1]) // BLOCK * BLOCK
    width = values.shape[1] // BLOCK * BLOCK
    first = values[:height, :width]
    means = []
    for distance in DISTANCES:
        squared = values[distance : distance + height, :width] - first
        squared *= squared
        # Sums of rows are contiguous and fast; those of the 32 columns follow on little data.
        rows = np.add.reduceat(squared, range(0, height, BLOCK), axis=0)
        means.append(rows.reshape(len(rows), -1, BLOCK).sum(axis=2) / BLOCK**2)
    return np.array(means)
