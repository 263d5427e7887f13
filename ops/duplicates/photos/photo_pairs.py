"""Compares two photos: how near their hashes and embeddings are, and where one lies in the other.

Owns the measures and their order; `photo_scores.py` makes probabilities of them. The order of the
two photos does not matter: the one whose SHA-256 is smaller is always mapped onto the other.
"""

from dataclasses import dataclass
from math import log, log1p

import numpy as np
from numpy.typing import NDArray

from ops.duplicates.pdq import BITS, LEAST_QUALITY, distance
from ops.duplicates.photos.agreement import NOTHING, Agreement, agreement
from ops.duplicates.photos.alignment import Alignment, fitted, whole
from ops.duplicates.photos.photo_print import PhotoPrint

SAME_ASPECT = 0.12  # of the logarithm: photos this near in aspect may be scaled copies
ENOUGH = 0.97  # share of parts and likeness at which other maps are not tried
FEWEST_PARTS = 12  # textured parts for that

FEATURES = (
    "pdq",
    "pdq_low_quality",
    "cosine",
    "no_embedding",
    "inliers",
    "inlier_share",
    "agreeing",
    "agreeing_share",
    "likeness",
    "median",
    "close",
    "correlation",
    "largest_overlap",
    "smallest_overlap",
    "stretch",
    "scale",
    "angle",
    "residual",
    "mapped",
)
"""The names of the measures, in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class PhotoPair:
    """How two photos compare. `swapped`: the map is from the second to the first photo.
    `mirrored`: the photo that is mapped is mirrored first. `alignment` is in pixels of `small`."""

    first: PhotoPrint
    second: PhotoPrint
    swapped: bool
    pdq_distance: int  # bits, of the nearer of the photo and its mirror image
    mirrored: bool
    cosine: float | None
    alignment: Alignment | None
    agreement: Agreement

    @property
    def mapped(self) -> PhotoPrint:
        """The photo that `alignment` maps, and in whose pixels `agreement.region` is."""
        return self.second if self.swapped else self.first

    @property
    def onto(self) -> PhotoPrint:
        """The photo that it maps onto."""
        return self.first if self.swapped else self.second

    @property
    def features(self) -> NDArray[np.float64]:
        """(len(FEATURES),) float64, finite."""
        found, agree = self.alignment, self.agreement
        low = min(self.first.pdq.quality, self.second.pdq.quality) < LEAST_QUALITY
        overlaps = agree.overlap, agree.overlap_other
        return np.array(
            [
                min(self.pdq_distance, BITS // 2) / (BITS // 2),
                float(low),
                0.0 if self.cosine is None else self.cosine,
                float(self.cosine is None),
                0.0 if found is None else log1p(found.inliers),
                _gap(0.0 if found is None else found.inliers / max(found.matches, 1), 0.02),
                log1p(agree.agreeing),
                _gap(agree.share, 0.02),
                _gap(agree.likeness, 0.01),
                _gap(agree.median, 0.004),
                _gap(agree.close, 0.02),
                _gap(agree.correlation, 0.01),
                max(overlaps),
                min(overlaps),
                0.0 if found is None else found.stretch - 1,
                0.0 if found is None else abs(log(found.scale)),
                0.0 if found is None else abs(found.angle) / 180,
                log(0.1 + (0.0 if found is None else found.residual)),
                float(found is not None),
            ]
        )


def photo_pair(first: PhotoPrint, second: PhotoPrint) -> PhotoPair:
    """Compare two photos; the measures do not depend on their order."""
    swapped = first.sha256 > second.sha256
    one, other = (second, first) if swapped else (first, second)
    straight = distance(one.pdq.hash, other.pdq.hash)
    across = distance(one.pdq.mirrored, other.pdq.hash)
    found, agree, mirrored = _best(one, other, mirrored_first=across < straight)
    return PhotoPair(
        first,
        second,
        swapped,
        min(straight, across),
        mirrored,
        _cosine(one, other),
        found,
        agree,
    )


def _gap(share: float, least: float) -> float:
    """The logarithm of what lacks to 1: 0.99 and 0.95 are as far apart as 0.9 and 0.5."""
    return log(1 + least - min(max(share, -1.0), 1.0))


def _cosine(one: PhotoPrint, other: PhotoPrint) -> float | None:
    if one.embedding is None or other.embedding is None:
        return None
    return float(one.embedding @ other.embedding)


def _best(
    one: PhotoPrint, other: PhotoPrint, *, mirrored_first: bool
) -> tuple[Alignment | None, Agreement, bool]:
    """The map under which most agrees, what agrees, and whether the photo is mirrored first."""
    best: tuple[Alignment | None, Agreement, bool] = (None, NOTHING, mirrored_first)
    tried = (mirrored_first, not mirrored_first)
    for with_features in (False, True):
        for mirrored in tried:
            found = _map(one, other, with_features=with_features, mirrored=mirrored)
            if found is None:
                continue
            small = one.small[:, ::-1] if mirrored else one.small
            agree = agreement(np.ascontiguousarray(small), other.small, found)
            if _rank(agree) > _rank(best[1]):
                best = found, agree, mirrored
        agree = best[1]
        certain = min(agree.share, agree.likeness) >= ENOUGH and agree.agreeing >= FEWEST_PARTS
        if certain and min(agree.overlap, agree.overlap_other) >= ENOUGH:
            break
    return best


def _rank(agree: Agreement) -> float:
    return agree.agreeing * agree.share


def _map(
    one: PhotoPrint, other: PhotoPrint, *, with_features: bool, mirrored: bool
) -> Alignment | None:
    """In pixels of `small`, or None."""
    if not with_features:
        aspects = abs(log(one.width / one.height * other.height / other.width))
        return (
            whole(one.small.shape[::-1], other.small.shape[::-1]) if aspects < SAME_ASPECT else None
        )
    found = fitted(one.mirrored_features if mirrored else one.features, other.features)
    if found is None:
        return None
    from_small = one.grey.shape[1] / one.small.shape[1]
    to_small = other.small.shape[1] / other.grey.shape[1]
    matrix = found.matrix.copy()
    matrix[:, :2] *= from_small * to_small
    matrix[:, 2] *= to_small
    return found._replace(matrix=matrix)
