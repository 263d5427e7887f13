"""Binary features of a photo: few, small and quick, to see which photos are worth a comparison.

ORB (Rublee et al., "ORB: an efficient alternative to SIFT or SURF", ICCV 2011) by OpenCV. Owns
whether enough of them agree on one place. Does not say that two photos are the same: two photos of
one shelf agree as well.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 256  # pixels of the longest side
MOST = 200
_DETECTED, _CELLS = 800, 4  # the strongest of each of 4 x 4 cells are kept, so that none has most
STEP, LEVELS = 1.2, 6  # of the pyramid of scales
_EDGE, _PATCH, _CONTRAST = 15, 15, 8  # pixels, pixels, grey levels

ENOUGH = 7
"""Features that agree from which a pair is worth a comparison. Of 690 altered copies that the
comparison finds and no hash does, all have as many but three collages, whose cosines are below 0.5;
so have 5 % of the pairs of photos that are alike."""

RATIO = 0.9  # Lowe 2004, section 7.1, of Hamming distances; lenient: then the place counts
PAIRED = 48  # of the pairs of features, those with the clearest match
NEAR_PX, NEAR_SHARE = 3.0, 0.15  # how exactly a feature must be where another one's match puts it
TURNED_ALIKE = 0.35  # of one: how far two matches may differ in scale and rotation

_ROW = np.dtype([("place", "<u2", 2), ("level", "u1"), ("turn", "u1"), ("bits", "u1", 32)])
_PARTS = 64  # of a pixel
_TURNS = 256  # of a whole turn


class BinaryFeatures(NamedTuple):
    """`places`: (N,) complex64, x + iy in pixels, longest side SIDE. `turns`: (N,) complex64, the
    size and direction of each. `bits`: (N, 32) uint8."""

    places: NDArray[np.complex64]
    turns: NDArray[np.complex64]
    bits: NDArray[np.uint8]


def pack(grey: NDArray[np.uint8]) -> bytes:
    """The features of a photo, 38 bytes each, at most MOST; b"" for one without details.

    Args:
        grey: (H, W) uint8, longest side at least SIDE unless the photo is smaller.
    """
    import cv2

    height, width = grey.shape
    scale = SIDE / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    found, bits = _detector().compute(grey, _spread(_detector().detect(grey, None), grey.shape))
    if bits is None:
        return b""
    rows = np.zeros(len(found), _ROW)
    rows["place"] = np.rint([(it.pt[0] * _PARTS, it.pt[1] * _PARTS) for it in found])
    rows["level"] = [it.octave for it in found]
    rows["turn"] = np.rint([it.angle / 360 * _TURNS for it in found]).astype(np.int64) % _TURNS
    rows["bits"] = bits
    return rows.tobytes()


def _spread(found: Sequence[Any], shape: tuple[int, ...]) -> list[Any]:
    """At most MOST of the features, the strongest of each cell first: a collage's one photo, or the
    text of a screenshot, may have the strongest of all."""
    if not found:
        return []
    places = np.array([it.pt for it in found])
    strength = np.array([-it.response for it in found])
    column, row = (places * _CELLS / np.array(shape[1::-1])).astype(int).T
    cells = row * _CELLS + column
    order = np.lexsort((strength, cells))
    first = np.searchsorted(cells[order], cells[order])
    rank = np.empty(len(found), int)
    rank[order] = np.arange(len(found)) - first
    return [found[it] for it in np.lexsort((strength, rank))[:MOST]]


def unpack(packed: bytes) -> BinaryFeatures:
    """The features that `pack` has packed."""
    rows = np.frombuffer(packed, _ROW)
    places = rows["place"].astype(np.float32) / _PARTS
    angles = rows["turn"].astype(np.float32) * (2 * np.pi / _TURNS)
    return BinaryFeatures(
        (places[:, 0] + 1j * places[:, 1]).astype(np.complex64),
        (STEP ** rows["level"] * np.exp(1j * angles)).astype(np.complex64),
        np.ascontiguousarray(rows["bits"]),
    )


def agreeing(one: BinaryFeatures, other: BinaryFeatures) -> int:
    """How many features agree on where one photo lies in the other: scale, rotation and place.

    Each match of two features is a hypothesis (Lowe 2004, section 7.3), and the one that most
    others agree with counts. The mirror image needs features of its own.
    """
    if min(len(one.places), len(other.places)) < 2:
        return 0
    here, there = _matches(one.bits, other.bits)
    if len(here) < 2:
        return len(here)
    turns = other.turns[there] / one.turns[here]
    scales = np.abs(turns)
    places, targets = one.places[here], other.places[there]
    apart = places[None] - places[:, None]
    errors = np.abs(turns[:, None] * apart - (targets[None] - targets[:, None]))
    near = NEAR_PX * np.maximum(1, scales)[:, None] + NEAR_SHARE * scales[:, None] * np.abs(apart)
    alike = np.abs(turns[None] / turns[:, None] - 1) < TURNED_ALIKE
    return int(((errors <= near) & alike).sum(axis=1).max())


def _matches(
    one: NDArray[np.uint8], other: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of both, of the clearest matches."""
    import cv2

    distances, nearest = cv2.batchDistance(one, other, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2)
    ratios = distances[:, 0] / np.maximum(distances[:, 1], 1)
    here = np.flatnonzero(ratios < RATIO)
    if len(here) > PAIRED:
        here = here[np.argsort(ratios[here], kind="stable")[:PAIRED]]
    return here, nearest[here, 0].astype(np.int64)


@lru_cache(maxsize=1)
def _detector() -> Any:
    import cv2

    cv2.setNumThreads(1)  # photos are computed side by side, not parts of one
    return cv2.ORB.create(
        nfeatures=_DETECTED,
        scaleFactor=STEP,
        nlevels=LEVELS,
        edgeThreshold=_EDGE,
        patchSize=_PATCH,
        fastThreshold=_CONTRAST,
    )
