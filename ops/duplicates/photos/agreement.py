"""Compares the pixels of two photos under a map of one onto the other, part by part.

An altered photo agrees with its original nearly everywhere they overlap. Another photo of the same
object agrees on the object at most, and of a wall or a table only by chance.
"""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ops.duplicates.photos.alignment import Alignment

SIDE = 160  # pixels of the longest side at which pixels are compared
BLOCK = 8  # pixels of the side of a part
BLUR = 1.0  # sigma in pixels: a map is exact to about half of one
TEXTURED = 4.0  # code values: the least standard deviation of a part with detail
AGREES = 0.7  # correlation of a part with its counterpart
NEARLY_ALL = 0.9  # share of the parts with detail from which all of the overlap agrees
CLOSE = 0.95  # the same, where nothing but the encoding differs

Floats = NDArray[np.float32]
_T = TypeVar("_T", bound=np.generic)

Rectangle = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; the ends are exclusive."""


class Agreement(NamedTuple):
    """`overlap`: the share of one photo that the map puts into the other, and `overlap_other` of
    the other. `textured`: parts of the overlap with detail, `agreeing` those that agree.
    `likeness`: the mean correlation of the textured parts. `median`: of those that agree.
    `close`: the share of these above CLOSE. `correlation`: that of the whole
    overlap. `region`: what agrees, in one's pixels; None where nothing does.
    `covered`: the share of the region's textured parts that disagree."""

    overlap: float
    overlap_other: float
    textured: int
    agreeing: int
    likeness: float
    median: float
    close: float
    correlation: float
    region: Rectangle | None
    covered: float

    @property
    def share(self) -> float:
        """The share of the textured parts that agree; 0 where there is none."""
        return self.agreeing / max(self.textured, 1)


NOTHING = Agreement(0.0, 0.0, 0, 0, 0.0, 0.0, 0.0, 0.0, None, 0.0)


def agreement(one: NDArray[np.uint8], other: NDArray[np.uint8], alignment: Alignment) -> Agreement:
    """How well the other photo, mapped onto one, agrees with it.

    Args:
        one: (H, W) uint8, longest side at most SIDE.
        other: the same of the other photo, mirrored where the alignment is of the mirror image.
        alignment: in the pixels of these two pictures.
    """
    import cv2

    height, width = one.shape
    warped, inside = _warped(other, alignment, (width, height))
    first, second = (cv2.GaussianBlur(it, (0, 0), BLUR).astype(np.float32) for it in (one, warped))
    valid = _blocks(inside).min(axis=(1, 3)) == 255
    if not valid.any():
        return NOTHING
    mine, yours = _blocks(first), _blocks(second)
    correlation, deviation, other_deviation = _correlations(mine, yours)
    textured = valid & (np.maximum(deviation, other_deviation) >= TEXTURED)
    agreeing = textured & (correlation >= AGREES)
    area = float((inside == 255).mean())
    region = _bounds(agreeing, (width, height), inside == 255)
    if region is not None and agreeing.sum() >= NEARLY_ALL * textured.sum():
        region = _box(inside == 255)  # plain parts belong to it too
    covered = 0.0
    if region is not None:
        rows = slice(region[1] // BLOCK, -(-region[3] // BLOCK))
        columns = slice(region[0] // BLOCK, -(-region[2] // BLOCK))
        within = int(textured[rows, columns].sum())
        covered = 1 - int(agreeing[rows, columns].sum()) / max(within, 1)
    keep = np.repeat(np.repeat(valid, BLOCK, axis=0), BLOCK, axis=1)
    rows_kept, columns_kept = keep.shape
    return Agreement(
        overlap=area,
        overlap_other=min(1.0, area * one.size * alignment.scale**2 / other.size),
        textured=int(textured.sum()),
        agreeing=int(agreeing.sum()),
        likeness=float(correlation[textured].mean()) if textured.any() else 0.0,
        median=float(np.median(correlation[agreeing])) if agreeing.any() else 0.0,
        close=float((correlation[agreeing] >= CLOSE).mean()) if agreeing.any() else 0.0,
        correlation=_correlation(
            first[:rows_kept, :columns_kept][keep], second[:rows_kept, :columns_kept][keep]
        ),
        region=region,
        covered=covered,
    )


def _warped(
    other: NDArray[np.uint8], alignment: Alignment, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The other picture in the place of one, of (width, height), and 255 where it is."""
    import cv2

    # Warped with its map inverted: a pixel of one is looked up in the other.
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    there = _smaller(other, alignment.scale)
    matrix = alignment.matrix * (there.shape[1] / other.shape[1])
    warped = cv2.warpAffine(there, matrix, size, flags=flags)
    inside = cv2.warpAffine(np.full_like(there, 255), matrix, size, flags=flags)
    return np.asarray(warped, np.uint8), np.asarray(inside, np.uint8)


def _smaller(picture: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """The picture, reduced where it is mapped to a smaller one: sampling alone would alias."""
    import cv2

    if scale < 1.5:
        return picture
    height, width = picture.shape
    size = max(8, round(width / scale)), max(8, round(height / scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _blocks(picture: NDArray[_T]) -> NDArray[_T]:
    """(rows, BLOCK, columns, BLOCK); what is left at the right and below is not in it."""
    rows, columns = picture.shape[0] // BLOCK, picture.shape[1] // BLOCK
    return picture[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)


def _correlations(mine: Floats, yours: Floats) -> tuple[Floats, Floats, Floats]:
    """Pearson's correlation of each part with its counterpart, and both standard deviations."""
    size = BLOCK * BLOCK
    axes = (1, 3)
    mean, other_mean = mine.mean(axis=axes), yours.mean(axis=axes)
    both = np.einsum("iajb,iajb->ij", mine, yours) / size - mean * other_mean
    variance = np.einsum("iajb,iajb->ij", mine, mine) / size - mean**2
    other_variance = np.einsum("iajb,iajb->ij", yours, yours) / size - other_mean**2
    deviation = np.sqrt(np.maximum(variance, 0))
    other_deviation = np.sqrt(np.maximum(other_variance, 0))
    return both / np.maximum(deviation * other_deviation, 0.5), deviation, other_deviation


def _correlation(first: Floats, second: Floats) -> float:
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / scale if scale > 0 else 0.0


def _bounds(
    agreeing: NDArray[np.bool_], size: tuple[int, int], inside: NDArray[np.bool_]
) -> Rectangle | None:
    """The rectangle around the parts that agree, and the overlap's edge where it is next to it."""
    if not agreeing.any():
        return None
    rows, columns = np.flatnonzero(agreeing.any(axis=1)), np.flatnonzero(agreeing.any(axis=0))
    left, right = int(columns[0]) * BLOCK, (int(columns[-1]) + 1) * BLOCK
    top, bottom = int(rows[0]) * BLOCK, (int(rows[-1]) + 1) * BLOCK
    first, above, last, below = _box(inside)
    near = 2 * BLOCK
    return (
        first if left - first <= near else left,
        above if top - above <= near else top,
        last if last - right <= near else min(right, size[0]),
        below if below - bottom <= near else min(bottom, size[1]),
    )


def _box(inside: NDArray[np.bool_]) -> Rectangle:
    """The rectangle around the overlap, which is not empty."""
    down, across = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1
