"""How well masks are found: F-measure, mean absolute error, intersection over union.

The F-measure is that of salient object detection: precision counts more than recall (beta² = 0.3),
and over many photos it is of their mean precision and mean recall (Achanta et al., "Frequency-tuned
salient region detection", CVPR 2009).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ops.masks.arrays import Mask, intersection_over_union

BETA_SQUARED = 0.3
LEVELS = 256  # of a probability, as of a grey picture

Probabilities = NDArray[np.float32]
"""(H, W) float32 in [0, 1]."""


def f_measure(precision: float, recall: float) -> float:
    """The weighted harmonic mean of precision and recall; 0 where both are 0."""
    below = BETA_SQUARED * precision + recall
    return 0.0 if below == 0 else (1 + BETA_SQUARED) * precision * recall / below


@dataclass(slots=True)
class MaskMeasures:
    """Sums over photos, one after the other."""

    photos: int = 0
    absolute_error: float = 0.0
    iou: float = 0.0
    precision: NDArray[np.float64] = field(default_factory=lambda: np.zeros(LEVELS))
    recall: NDArray[np.float64] = field(default_factory=lambda: np.zeros(LEVELS))

    def add(self, found: Probabilities, truth: Mask, threshold: float = 0.5) -> None:
        """Add a photo.

        Args:
            found: the probability of each pixel; a mask as 0 and 1.
            threshold: from which on a pixel is inside, for the intersection over union.
        """
        levels = np.clip(np.rint(found * (LEVELS - 1)), 0, LEVELS - 1).astype(np.int64)
        inside = np.bincount(levels[truth], minlength=LEVELS)[::-1].cumsum()[::-1]
        chosen = np.bincount(levels.ravel(), minlength=LEVELS)[::-1].cumsum()[::-1]
        total = int(np.count_nonzero(truth))
        self.photos += 1
        self.precision += np.where(chosen > 0, inside / np.maximum(chosen, 1), 1.0)
        self.recall += inside / total if total else np.ones(LEVELS)
        self.absolute_error += float(np.abs(found - truth).mean())
        self.iou += intersection_over_union(found >= threshold, truth)

    def at(self, threshold: float) -> float:
        """The F-measure of the masks from that probability on."""
        level = round(threshold * (LEVELS - 1))
        return f_measure(self.precision[level] / self.photos, self.recall[level] / self.photos)

    def figures(self, threshold: float = 0.5) -> dict[str, float | int]:
        """`photos`, `max_f`, `f` at the threshold, `mae` and the mean `iou`.

        Raises:
            ValueError: no photo was added.
        """
        if self.photos == 0:
            raise ValueError("no photo was measured")
        # From level 1 on: at 0 everything is inside.
        best = max(self.at(level / (LEVELS - 1)) for level in range(1, LEVELS))
        return {
            "photos": self.photos,
            "max_f": round(best, 4),
            "f": round(self.at(threshold), 4),
            "mae": round(self.absolute_error / self.photos, 4),
            "iou": round(self.iou / self.photos, 4),
        }
