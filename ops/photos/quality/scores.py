"""Scores a photo's defects from 0 to 1, and its quality as a whole.

Owns how measures become scores: by small networks for exposure, blur and drawn areas, whose
constants `lalafo_assets/bench/quality/fit.py` fits, and by plain formulas for size, borders and
collages. A score of FLAG or more is a flag. No score depends on other photos.
"""

from collections.abc import Mapping, Sequence
from math import exp, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ops.errors import ConfigurationError
from ops.photos.pixels import Pixels
from ops.photos.quality.exposure import FEATURES as EXPOSURE
from ops.photos.quality.exposure import exposure_features
from ops.photos.quality.graphics import FEATURES as GRAPHICS
from ops.photos.quality.graphics import graphics_features
from ops.photos.quality.seams import find_border, find_collage
from ops.photos.quality.sharpness import FEATURES as SHARPNESS
from ops.photos.quality.sharpness import sharpness_features

DEFECTS = ("dark", "bright", "blurred", "tiny", "graphics", "border", "collage")
FLAG = 0.5
DIGITS = 4

HEADS: Mapping[str, Sequence[str]] = {
    "dark": EXPOSURE,
    "bright": EXPOSURE,
    "blurred": SHARPNESS,
    "graphics": GRAPHICS,
}
"""The defects that a small network scores, and the names of its features."""

WHITE_EDGE, BLACK_EDGE = EXPOSURE.index("white_edge"), EXPOSURE.index("black_edge")

HALF_BORDER = 0.06  # share of the area: the border with the score 0.5
HALF_COLLAGE = 0.8  # photos besides the first: the collage with the score 0.5
SEAMS = 0.25  # photos: what a seam of the photo's length counts beside the photos that it parts
CLIP = 5.0  # standard deviations: a feature further out counts as this far


def defect_scores(
    photo: Pixels, *, source_width: int, source_height: int, config: Mapping[str, Any]
) -> dict[str, float]:
    """The score of each of DEFECTS, in [0, 1], rounded to DIGITS.

    Args:
        photo: (H, W, 3) uint8 RGB, upright; at least one pixel.
        source_width: pixels of the file that the seller sent; with `source_height`.
        config: `heads`, by defect, as `head_score` reads them; `tiny_px`, the square root of the
            source's pixels with the score 0.5.

    Raises:
        ConfigurationError: a head is of other features.
    """
    luma = np.asarray(Image.fromarray(photo).convert("L"))
    border = find_border(luma)
    inside = luma[border.top : border.bottom, border.left : border.right]
    pixels = photo[border.top : border.bottom, border.left : border.right]
    exposure = exposure_features(pixels, inside)
    sharpness = sharpness_features(inside)
    collage = find_collage(inside)
    parts = collage.photos - 1 + SEAMS * collage.seams
    heads = config["heads"]
    scores = {
        # White paper that is white, or black velvet that is black, was exposed as it should be.
        "dark": head_score("dark", exposure, heads) * (1 - exposure[WHITE_EDGE]),
        "bright": head_score("bright", exposure, heads) * (1 - exposure[BLACK_EDGE]),
        "blurred": 0.0 if sharpness is None else head_score("blurred", sharpness, heads),
        "tiny": tiny_score(source_width, source_height, float(config["tiny_px"])),
        "graphics": head_score("graphics", graphics_features(luma), heads),
        "border": border.share / (border.share + HALF_BORDER),
        "collage": parts / (parts + HALF_COLLAGE),
    }
    return {name: round(float(scores[name]), DIGITS) for name in DEFECTS}


def head_score(
    defect: str, features: NDArray[np.float64], heads: Mapping[str, Mapping[str, Any]]
) -> float:
    """A logistic function of a network with one hidden layer of tanh units, in (0, 1).

    Args:
        heads: by defect: `mean` and `scale` by feature, `hidden` (features x units) and
            `hidden_bias`, `weights` by unit, `bias`, and `steepness`.
    """
    head = heads[defect]
    if len(head["mean"]) != len(features):
        raise ConfigurationError(
            f"The head {defect} reads {len(head['mean'])} features; this version measures "
            f"{len(features)}: make a release with the installed tasks (`lalafo releases extend`)."
        )
    standard = standardized(features, np.array(head["mean"]), np.array(head["scale"]))
    units = np.tanh(standard @ np.array(head["hidden"]) + np.array(head["hidden_bias"]))
    severity = float(units @ np.array(head["weights"])) + float(head["bias"])
    return logistic(float(head["steepness"]) * severity)


def standardized(
    features: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Features in standard deviations from their mean, at most CLIP of them."""
    clipped: NDArray[np.float64] = np.clip((features - mean) / scale, -CLIP, CLIP)
    return clipped


def tiny_score(width: int, height: int, half_px: float) -> float:
    """How small the seller's file is: a logistic function of its side in octaves.

    The side is that of the square with as many pixels. Half as long as `half_px`, the score is
    0.95; twice as long, 0.05. A size that isn't known (0) has the score 0.
    """
    if width <= 0 or height <= 0:
        return 0.0
    return logistic(3 * (log2(half_px) - log2(width * height) / 2))


def logistic(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow."""
    bounded = min(max(value, -40.0), 40.0)
    return 1 / (1 + exp(-bounded))


def overall(scores: Mapping[str, float], severity: Mapping[str, float]) -> float:
    """The quality of a photo, in [0, 1]: the product of what each defect leaves of it.

    A defect with the score 1 leaves 1 - severity. The product is a convention, chosen so that each
    defect counts once and none outweighs all others; it is no probability.
    """
    left = 1.0
    for name, score in scores.items():
        left *= 1 - severity[name] * score
    return round(left, DIGITS)
