"""Measures borders around a photo, and the seams between the photos of a collage.

Both have straight lines along rows or columns of pixels, from side to side, at which the picture
changes at once. White paper around a product has no such line, and is no border.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

UNIFORM = 10  # code values: the largest deviation from the middle of a row of one colour
UNIFORM_SHARE = 0.98  # of its pixels
GROUP = 8  # rows that are looked at together
STEP = 14  # code values: the least change at a seam or at the inner side of a border
INNER = 0.6  # least share of the inner side that changes, without bars at its ends
WIDEST_SIDES = 0.5  # least share of the inner side without those
REACH = 2  # pixels over which scaling spreads a seam
SLENDEREST = 0.12  # of the side: the narrowest photo of a collage
SEAM = 0.6  # share of a line that changes at once, from which a region is split
NOTHING = 0.25  # a photograph has lines of up to about this share
MOST_PHOTOS = 16


class Border(NamedTuple):
    """The bars around a photo. `share`: of its area, in [0, 1]. The rest are pixels, and
    (top, bottom) and (left, right) are slices of what is inside."""

    share: float
    top: int
    bottom: int
    left: int
    right: int


def find_border(luma: NDArray[np.uint8]) -> Border:
    """The bars of one colour at the sides of a photo; nothing for a photo of one colour.

    Args:
        luma: (H, W) uint8.
    """
    height, width = luma.shape
    top, bottom = _bars(luma)
    left, right = _bars(luma[top:bottom].T)
    if top == 0 and bottom == height:  # wide bars at both sides hide those above and below
        top, bottom = _bars(luma[:, left:right])
    inside = (bottom - top) * (right - left)
    if inside == 0:
        return Border(0.0, 0, height, 0, width)
    return Border(1 - inside / (height * width), top, bottom, left, right)


def _bars(luma: NDArray[np.uint8]) -> tuple[int, int]:
    """The rows of what is inside the bars above and below: the first, and the one behind it."""
    rows = len(luma)
    if rows < 3 or luma.shape[1] < 2:
        return 0, rows
    return _bar(luma), rows - _bar(luma[::-1])


def _bar(luma: NDArray[np.uint8]) -> int:
    """The rows of the bar above; 0 where it doesn't end at a straight line."""
    colour = int(np.median(luma[0]))
    rows = 0
    while rows < len(luma):  # in small groups: most photos have no bar, and end at the first
        deviation = np.abs(luma[rows : rows + GROUP].astype(np.int16) - colour)
        uniform = (deviation <= UNIFORM).mean(axis=1) >= UNIFORM_SHARE
        if not uniform.all():
            rows += int(uniform.argmin())
            break
        rows += len(uniform)
    if rows == 0 or rows > len(luma) - 3:
        return 0
    inner = np.abs(luma[rows + 1].astype(np.int16) - colour) >= STEP
    changed = np.flatnonzero(inner)
    if len(changed) == 0:
        return 0
    within = inner[changed[0] : changed[-1] + 1]  # beside it may be bars at the left and right
    straight = len(within) >= WIDEST_SIDES * len(inner) and float(within.mean()) >= INNER
    return rows if straight else 0


class Collage(NamedTuple):
    """`photos`: how many were found. `seams`: the length of the seams between them, as a multiple
    of the photo's side, weighted by how clear they are; from 0 on."""

    photos: int
    seams: float


def find_collage(luma: NDArray[np.uint8]) -> Collage:
    """Split a photo at its seams, and each part again: the recursive X-Y cut of Nagy and Seth,
    "Hierarchical Representation of Optically Scanned Documents" (ICPR 1984), with changes in place
    of white space.

    Args:
        luma: (H, W) uint8, without its border.
    """
    height, width = luma.shape
    smallest = (max(8, round(height * SLENDEREST)), max(8, round(width * SLENDEREST)))
    across = _changes(luma)  # at rows
    down = _changes(luma.T).T  # at columns
    regions = [(0, height, 0, width)]
    photos, seams = 1, 0.0
    while regions and photos < MOST_PHOTOS:
        top, bottom, left, right = regions.pop(0)
        row, row_share = _best(across[top:bottom, left:right].mean(axis=1), smallest[0])
        column, column_share = _best(down[top:bottom, left:right].mean(axis=0), smallest[1])
        share = max(row_share, column_share)
        is_row = row_share >= column_share
        length = (right - left) / width if is_row else (bottom - top) / height
        seams += length * max(0.0, share - NOTHING) / (1 - NOTHING)
        if share < SEAM:
            continue
        photos += 1
        if is_row:
            regions += [(top, top + row, left, right), (top + row, bottom, left, right)]
        else:
            regions += [(top, bottom, left, left + column), (top, bottom, left + column, right)]
    return Collage(photos, seams)


def _best(shares: NDArray[np.float64], margin: int) -> tuple[int, float]:
    """The clearest line that is not within `margin` of an end, and its share."""
    inside = shares[margin : len(shares) - margin]
    if len(inside) == 0:
        return 0, 0.0
    best = int(inside.argmax())
    return best + margin, float(inside[best])


def _changes(luma: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a row differs from the one REACH above it, and from its surroundings much less.

    Returns:
        (H, W) bool, for each pixel whether there is a step at its upper side.
    """
    height = len(luma)
    found = np.zeros(luma.shape, bool)
    if height <= 4 * REACH:
        return found
    values = luma.astype(np.int16)
    step = np.abs(values[REACH:] - values[:-REACH])  # (H - REACH), centred between both
    near = step[REACH:-REACH]
    sides = np.maximum(step[: -2 * REACH], step[2 * REACH :])
    found[2 * REACH - 1 : 2 * REACH - 1 + len(near)] = (near >= STEP) & (near > 2 * sides)
    return found
