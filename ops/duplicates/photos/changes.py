"""Names how a photo was altered, from the map and the parts that agree.

The names are of the pair: which of the two is the original can't be known from pixels.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ops.duplicates.photos.photo_pairs import PhotoPair
from ops.duplicates.photos.regions import region_corners

WHOLE = 0.93  # share of both photos from which neither is a part of the other
DEGREES = 0.8
UNIFORM, UNIFORM_SHARE = 16, 0.9  # code values around the middle of the surroundings, and how many
STEP = 2.0  # a straight edge around the region, as a multiple of the steps beside it
COVERED = 0.025  # share of the parts within the region
LIGHT, COLOUR = 6.0, 4.0  # code values of the mean luma; of the mean of Cb and Cr
CONTRAST = 0.15  # of the logarithm of the standard deviation of luma
SIZES = 0.1  # of the logarithm of the side


class Change(StrEnum):
    """How one photo of a pair differs from the other."""

    MIRRORED = "mirrored"
    ROTATED = "rotated"
    CROPPED = "cropped"  # one shows a part of the other
    BORDERED = "bordered"  # one has the other inside a border of one colour
    PLACED = "placed"  # one has the other inside a collage or on a screen
    COVERED = "covered"  # by text or a mark
    LIGHT = "light"  # lighter, darker, of another contrast
    RECOLOURED = "recoloured"
    RESIZED = "resized"
    ENCODED = "encoded"  # none of the above: other bytes of the same pixels


def changes_of(pair: PhotoPair) -> tuple[Change, ...]:
    """How the photos of a pair that are the same differ, in the order of Change; at least one."""
    corners, found = region_corners(pair), pair.alignment
    if corners is None or found is None:
        return (Change.ENCODED,)
    here, there = corners
    part = _part(pair, here, there)
    light, colour = _colours(pair, here, there)
    sides = [max(it.width, it.height) for it in (pair.mapped, pair.onto)]
    whole = part is None
    named = {
        Change.MIRRORED: pair.mirrored,
        Change.ROTATED: abs(found.angle) >= DEGREES,
        Change.CROPPED: part is Change.CROPPED,
        Change.BORDERED: part is Change.BORDERED,
        Change.PLACED: part is Change.PLACED,
        Change.COVERED: pair.agreement.covered >= COVERED,
        Change.LIGHT: light,
        Change.RECOLOURED: colour,
        Change.RESIZED: whole and abs(np.log(sides[0] / sides[1])) >= SIZES,
    }
    return tuple(it for it, is_so in named.items() if is_so) or (Change.ENCODED,)


def _part(pair: PhotoPair, here: NDArray[np.float64], there: NDArray[np.float64]) -> Change | None:
    """Whether one of the photos has more around the region, and what that looks like."""
    shares = [
        _area(np.clip(corners, 0, it.small.shape[::-1])) / it.small.size
        for corners, it in ((here, pair.mapped), (there, pair.onto))
    ]
    if min(shares) >= WHOLE:
        return None
    larger, corners = ((pair.mapped, here), (pair.onto, there))[int(shares[1] < shares[0])]
    picture = larger.small.astype(np.float32)
    outside = ~_inside(corners, picture.shape)
    if not outside.any():
        return None
    around = picture[outside]
    near = np.abs(around - np.median(around)) <= UNIFORM
    if near.mean() >= UNIFORM_SHARE:
        return Change.BORDERED
    return Change.PLACED if _has_edge(picture, corners) else Change.CROPPED


def _area(corners: NDArray[np.float64]) -> float:
    """Of a polygon, by the shoelace formula."""
    x, y = corners.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _inside(corners: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    import cv2

    mask = np.zeros(shape, np.uint8)
    # One pixel wider: the rows beside an edge are a mixture.
    centre = corners.mean(axis=0)
    wider = corners + 2 * np.sign(corners - centre)
    cv2.fillConvexPoly(mask, np.rint(wider).astype(np.int32), 1)
    return mask > 0


def _has_edge(picture: NDArray[np.float32], corners: NDArray[np.float64]) -> bool:
    """Whether the picture changes at once at the region's sides, more than further inside."""
    at_side, beside = 0.0, 0.0
    centre = corners.mean(axis=0)
    for index in range(4):
        start, end = corners[index], corners[(index + 1) % 4]
        along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-6)
        inward = np.array([-along[1], along[0]])
        inward *= np.sign(inward @ (centre - start)) or 1
        places = start + (end - start) * np.linspace(0.05, 0.95, 60)[:, None]
        if not _within(places - 3 * inward, picture.shape).all():
            continue  # this side of the region is one of the picture
        steps = [
            float(
                np.abs(
                    _at(picture, places + k * inward) - _at(picture, places + (k + 4) * inward)
                ).mean()
            )
            for k in (-3, -2, -1, 4, 7, 10)
        ]
        at_side += max(steps[:3])
        beside += float(np.mean(steps[3:]))
    return at_side > STEP * (beside + 1)


def _within(places: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (places >= 0) & (places <= np.array(shape[::-1]) - 1)
    return inside


def _at(picture: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    height, width = picture.shape
    columns = np.clip(np.rint(places[:, 0]).astype(np.int64), 0, width - 1)
    rows = np.clip(np.rint(places[:, 1]).astype(np.int64), 0, height - 1)
    return picture[rows, columns]


def _colours(
    pair: PhotoPair, here: NDArray[np.float64], there: NDArray[np.float64]
) -> tuple[bool, bool]:
    """Whether the light, and whether the colours of the region differ."""
    planes = []
    for corners, it in ((here, pair.mapped), (there, pair.onto)):
        scale = it.pixels.shape[1] / it.small.shape[1]
        low = np.maximum(np.floor(corners.min(axis=0) * scale).astype(np.int64), 0)
        high = np.ceil(corners.max(axis=0) * scale).astype(np.int64)
        cut = it.pixels[low[1] : max(high[1], low[1] + 1), low[0] : max(high[0], low[0] + 1)]
        planes.append(np.asarray(Image.fromarray(cut).convert("YCbCr"), np.float32).reshape(-1, 3))
    mean = np.abs(planes[0].mean(axis=0) - planes[1].mean(axis=0))
    spread = [np.maximum(it.std(axis=0), 1.0) for it in planes]
    ratio = np.abs(np.log(spread[0] / spread[1]))
    chroma = np.abs(spread[0] - spread[1])[1:]
    light = mean[0] >= LIGHT or ratio[0] >= CONTRAST
    return bool(light), bool(max(mean[1:].max(), chroma.max()) >= COLOUR)
