"""Draws another photo of the same thing: seen from elsewhere, closer, in another light.

Stands for real pairs of photos of one object, which no data set here names. Where a mask is given,
the product is put in front of another photo.
"""

import numpy as np
from numpy.typing import NDArray

from lalafo_assets.bench.quality.degrade import gamma, gaussian_blur, jpeg
from ops.photos.pixels import Pixels

SHIFT = (0.06, 0.16)  # of the side: how far a corner of the photo moves
LIGHT = 0.35  # the largest change of light from side to side


def rephotographed(
    photo: Pixels,
    rng: np.random.Generator,
    *,
    mask: NDArray[np.uint8] | None = None,
    behind: Pixels | None = None,
) -> Pixels:
    """The scene under a perspective map, with a gradient of light, gamma, blur and grain.

    Args:
        mask: (H, W) uint8, 255 inside the product; with `behind`, the photo that takes the place of
            all else.
    """
    import cv2

    height, width = photo.shape[:2]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    size = np.array([width, height], np.float32)
    # A step to the side and closer: the corners move out of the picture.
    moved = corners + np.sign(corners - size / 2) * rng.uniform(*SHIFT, (4, 2)) * size
    moved += rng.uniform(-0.05, 0.05, 2) * size
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    out = cv2.warpPerspective(photo, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    if mask is not None and behind is not None:
        inside = cv2.warpPerspective(mask, matrix, (width, height))
        share = cv2.GaussianBlur(inside, (0, 0), 1.5).astype(np.float32)[..., None] / 255
        ground = cv2.resize(behind, (width, height), interpolation=cv2.INTER_AREA)
        out = (out * share + ground * (1 - share)).astype(np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 + rng.uniform(0.1, LIGHT) * (np.cos(angle) * x + np.sin(angle) * y)
    lit = out * light[..., None] + rng.normal(0, 3, (height, width, 1))
    pixels = np.clip(np.rint(lit), 0, 255).astype(np.uint8)
    pixels = gaussian_blur(gamma(pixels, float(rng.uniform(0.75, 1.35))), float(rng.uniform(0, 1)))
    return jpeg(pixels, int(rng.integers(70, 95)))
