"""Local features of a photo: where its details are, and what each looks like.

SIFT (Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004) by OpenCV. The
features of the mirror image follow from those of the photo, without another detection.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 320  # pixels of the longest side: details that survive a screenshot at half the size
MOST = 400
_CELLS, _DIRECTIONS = 4, 8  # of a descriptor: 4 by 4 cells of 8 directions


class LocalFeatures(NamedTuple):
    """`places`: (N, 2) float32, x and y in pixels of `grey`. `descriptors`: (N, 128) uint8."""

    places: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def mirrored(self, width: int) -> "LocalFeatures":
        """Those of the photo mirrored from left to right; `width` is that of `grey`.

        A cell's row counts across the feature's own direction, so that mirroring reverses the rows
        and the sign of the directions.
        """
        places = self.places.copy()
        places[:, 0] = width - 1 - places[:, 0]
        cells = self.descriptors.reshape(-1, _CELLS, _CELLS, _DIRECTIONS)
        turned = cells[:, ::-1][..., -np.arange(_DIRECTIONS) % _DIRECTIONS]
        return LocalFeatures(places, turned.reshape(self.descriptors.shape))


def local_features(grey: NDArray[np.uint8]) -> LocalFeatures:
    """Up to about MOST features of the strongest contrast; none for a photo without details.

    Args:
        grey: (H, W) uint8, longest side at most SIDE.
    """
    import cv2

    cv2.setNumThreads(1)  # photos are computed side by side, not parts of one
    found, descriptors = cv2.SIFT.create(nfeatures=MOST).detectAndCompute(grey, None)
    if descriptors is None or len(found) == 0:
        return LocalFeatures(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    places = np.array([it.pt for it in found], np.float32)
    return LocalFeatures(places, descriptors.astype(np.uint8))
