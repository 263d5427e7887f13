"""Where two photos show the same, as a four-sided region of each, to draw on a page."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ops.duplicates.photos.photo_pairs import PhotoPair

Quadrilateral = tuple[tuple[float, float], ...]
"""Four corners (x, y) as shares of the width and height of an upright photo, in [0, 1]. Corner by
corner, those of both photos show the same place."""


class Regions(NamedTuple):
    """The region of the first photo of a pair, and that of the second."""

    first: Quadrilateral
    second: Quadrilateral


def matched_regions(pair: PhotoPair) -> Regions | None:
    """Where the photos agree; None where they agree nowhere."""
    corners = region_corners(pair)
    if corners is None:
        return None
    one, other = (_shares(it, size) for it, size in zip(corners, _sizes(pair), strict=True))
    return Regions(other, one) if pair.swapped else Regions(one, other)


def region_corners(
    pair: PhotoPair,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(4, 2) corners of the region in pixels of `small`, in the photo that is mapped and in the
    one that it is mapped onto."""
    region, found = pair.agreement.region, pair.alignment
    if region is None or found is None:
        return None
    left, top, right, bottom = region
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    # The ends of pixels, not their centres.
    there = (corners - 0.5) @ found.matrix[:, :2].T + found.matrix[:, 2] + 0.5
    if pair.mirrored:
        corners[:, 0] = pair.mapped.small.shape[1] - corners[:, 0]
    return corners, there


def _sizes(pair: PhotoPair) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return pair.mapped.small.shape[::-1], pair.onto.small.shape[::-1]


def _shares(corners: NDArray[np.float64], size: tuple[int, ...]) -> Quadrilateral:
    shares = np.clip(corners / np.array(size), 0, 1)
    return tuple((round(float(x), 4), round(float(y), 4)) for x, y in shares)
