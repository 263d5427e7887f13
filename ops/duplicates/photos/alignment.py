"""Finds how a photo may lie in another one: an affine map that many local features agree on.

Owns the hypotheses; whether the pixels agree under one of them is `agreement.py`'s question.
Two photos of one object also have features that agree.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ops.duplicates.photos.local_features import LocalFeatures

RATIO = 0.8  # Lowe 2004, section 7.1: the nearest descriptor's distance to the second nearest's
NEAR_PX = 3.0  # pixels of the features' picture: how exactly a feature must be mapped
FEWEST = 4  # features: three fit any affine map
STEPS = 600  # samples of RANSAC
LEAST_SCALE, MOST_SCALE = 0.12, 8.0
MOST_STRETCH = 1.6  # of one direction against the other


class Alignment(NamedTuple):
    """`matrix`: (2, 3) float64, from pixels of one picture to those of the other.
    `inliers`: features that it maps to a similar one. `matches`: features with a similar one.
    `residual`: the median distance between a mapped inlier and its counterpart, in pixels of the
    picture that shows it larger: an altered photo is mapped exactly, another photo of the scene is
    not."""

    matrix: NDArray[np.float64]
    inliers: int
    matches: int
    residual: float

    @property
    def scale(self) -> float:
        """How much larger the other picture shows what both show."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    @property
    def angle(self) -> float:
        """The rotation in degrees, in [-180, 180]."""
        return float(np.degrees(np.arctan2(self.matrix[1, 0], self.matrix[0, 0])))

    @property
    def stretch(self) -> float:
        """The scale of one direction over that of the other, at least 1."""
        largest, smallest = np.linalg.svd(self.matrix[:, :2], compute_uv=False)
        return float(largest / max(smallest, 1e-9))


def fitted(one: LocalFeatures, other: LocalFeatures) -> Alignment | None:
    """The map that most of the similar features agree on, by RANSAC (Fischler and Bolles 1981).

    Equal arguments give equal results. None where too few features agree, or where the map is a
    reflection or an extreme one.
    """
    import cv2

    here, there = _matches(one.descriptors, other.descriptors)
    if len(here) < FEWEST:
        return None
    cv2.setRNGSeed(1)
    matrix, kept = cv2.estimateAffine2D(
        one.places[here],
        other.places[there],
        method=cv2.RANSAC,
        ransacReprojThreshold=NEAR_PX,
        maxIters=STEPS,
        confidence=0.999,
    )
    if matrix is None or not np.isfinite(matrix).all() or int(kept.sum()) < FEWEST:
        return None
    inner = kept.ravel() > 0
    mapped = one.places[here[inner]] @ matrix[:, :2].T + matrix[:, 2]
    errors = np.linalg.norm(mapped - other.places[there[inner]], axis=1)
    found = Alignment(
        matrix.astype(np.float64), int(inner.sum()), len(here), float(np.median(errors))
    )
    found = found._replace(residual=found.residual * max(1.0, 1 / max(found.scale, 1e-6)))
    likely = LEAST_SCALE <= found.scale <= MOST_SCALE and found.stretch <= MOST_STRETCH
    return found if likely and np.linalg.det(matrix[:, :2]) > 0 else None


def whole(size: tuple[int, int], other_size: tuple[int, int]) -> Alignment:
    """The map of the whole of one picture to the whole of the other; sizes are (width, height)."""
    scales = [there / here for here, there in zip(size, other_size, strict=True)]
    shifts = [(scale - 1) / 2 for scale in scales]  # centres of pixels are at whole numbers
    matrix = np.array([[scales[0], 0, shifts[0]], [0, scales[1], shifts[1]]])
    return Alignment(matrix, 0, 0, 0.0)


def _matches(
    one: NDArray[np.uint8], other: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of both whose descriptors are each other's nearest, and no second one is as near."""
    if len(one) < 2 or len(other) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # Root of the entries: Arandjelović and Zisserman, "Three things everyone should know to
    # improve object retrieval" (CVPR 2012).
    a, b = _rooted(one), _rooted(other)
    likeness = a @ b.T
    two = np.partition(likeness, -2, axis=1)[:, -2:]
    nearest = likeness.argmax(axis=1)
    # Of unit rows the squared distance is 2 - 2 x likeness.
    clear = 1 - two[:, 1] < RATIO**2 * (1 - two[:, 0])
    mutual = likeness.argmax(axis=0)[nearest] == np.arange(len(a))
    here = np.flatnonzero(clear & mutual)
    return here, nearest[here]


def _rooted(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = descriptors.astype(np.float32)
    values /= np.maximum(values.sum(axis=1, keepdims=True), 1)
    return np.sqrt(values)
