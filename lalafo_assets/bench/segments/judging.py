"""Judges masks on photos whose masks are known, beside three simple ways to find them.

Owns the baselines, and which drawn photos are for judging. Does not depend on the task's storage.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lalafo_assets.bench.segments.samples import RealPhoto
from lalafo_assets.synthetic.masked import draw_masked
from ops.masks.measures import MaskMeasures
from ops.models.segments.goods import find_goods
from ops.models.segments.network import LoadedNetwork

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
Finder = Callable[[Pixels], Probabilities]
"""A photo (H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1]."""

Judged = tuple[Pixels, NDArray[np.bool_]]
"""A photo and its true mask."""

INSET = 0.1  # of each side: the centre box leaves so much out
GRABCUT_ROUNDS = 5
DRAWN_SEED = 7_000_000_000  # training draws from the seeds of numpy's generator
DRAWN_SHAPES = ((480, 360), (360, 480), (480, 480))


def of_network(loaded: LoadedNetwork) -> Finder:
    """The probabilities of a network, as the task has them."""
    return lambda photo: find_goods(photo, loaded).probability


def everything(photo: Pixels) -> Probabilities:
    """The whole photo."""
    return np.ones(photo.shape[:2], np.float32)


def centre_box(photo: Pixels) -> Probabilities:
    """The photo without a tenth at each side."""
    left, top, width, height = _box(photo)
    found = np.zeros(photo.shape[:2], np.float32)
    found[top : top + height, left : left + width] = 1
    return found


def grabcut(photo: Pixels) -> Probabilities:
    """OpenCV's GrabCut from the centre box (Rother et al., SIGGRAPH 2004)."""
    import cv2

    cv2.setRNGSeed(0)
    mask = np.zeros(photo.shape[:2], np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(photo[..., ::-1])
    cv2.grabCut(bgr, mask, _box(photo), *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_RECT)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)


BASELINES: Mapping[str, Finder] = {
    "everything": everything,
    "centre_box": centre_box,
    "grabcut": grabcut,
}


def _box(photo: Pixels) -> tuple[int, int, int, int]:
    """Left, top, width and height of the centre box."""
    height, width = photo.shape[:2]
    left, top = round(width * INSET), round(height * INSET)
    return left, top, width - 2 * left, height - 2 * top


def judge(finder: Finder, photos: Iterator[Judged], measures: MaskMeasures) -> MaskMeasures:
    """Add what a finder finds in each photo to the measures."""
    for pixels, truth in photos:
        measures.add(finder(pixels), truth)
    return measures


def real_photos(photos: Sequence[RealPhoto]) -> Iterator[Judged]:
    """Real photos as they are judged."""
    return ((photo.pixels, photo.mask >= 0.5) for photo in photos)


def drawn_photos(count: int) -> Iterator[Judged]:
    """Drawn photos that no network was trained on."""
    for index in range(count):
        drawn = draw_masked(DRAWN_SEED + index, DRAWN_SHAPES[index % len(DRAWN_SHAPES)])
        yield drawn.pixels, drawn.mask >= 0.5


def figures(finder: Finder, photos: Iterator[Judged]) -> dict[str, Any]:
    """The measures of a finder on photos."""
    return judge(finder, photos, MaskMeasures()).figures()
