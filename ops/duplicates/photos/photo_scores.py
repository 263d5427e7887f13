"""Says whether two photos are the same, the same thing, or different, with probabilities.

Owns how measures become probabilities: by a small network whose constants
`lalafo_assets/bench/duplicates/fit.py` fits. A probability is that of the pairs it was fitted on,
where each kind counts a third; among candidates that are mostly different photos, it is lower.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.duplicates.photos.changes import Change, changes_of
from ops.duplicates.photos.photo_pairs import FEATURES, PhotoPair, photo_pair
from ops.duplicates.photos.photo_print import PhotoPrint
from ops.duplicates.photos.regions import Regions, matched_regions
from ops.errors import ConfigurationError

CONSTANTS = Path(__file__).with_name("constants.json")
CLIP = 5.0  # standard deviations: a measure further out counts as this far
CLASSES = ("different", "same_thing", "same_photo")
"""The columns of probabilities."""


class Verdict(StrEnum):
    EXACT = "exact"  # the same bytes, or the same pixels in another file
    ALTERED = "altered"  # the same photo, altered
    SAME_THING = "same_thing"  # likely the same thing, on another photo
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, eq=False)
class PhotoAnswer:
    """What is known of two photos. `same_photo`, `same_thing`: probabilities of the two verdicts,
    in [0, 1], whose sum is at most 1. `changes`: how one was altered, for EXACT and ALTERED.
    `regions`: where they agree, except for DIFFERENT."""

    verdict: Verdict
    same_photo: float
    same_thing: float
    changes: tuple[Change, ...]
    regions: Regions | None
    pair: PhotoPair


def compare_photos(
    first: PhotoPrint, second: PhotoPrint, *, constants: Mapping[str, Any] | None = None
) -> PhotoAnswer:
    """Compare two photos; swapping them swaps the regions and changes nothing else.

    Args:
        constants: those of a release; None: those of the installed version.
    """
    used = installed_constants() if constants is None else constants
    pair = photo_pair(first, second)
    row = probabilities(pair.features[None], used)[0]
    thing, same = float(row[1]), float(row[2])
    if is_exact(first, second):
        verdict, thing, same = Verdict.EXACT, 0.0, 1.0
    elif _shows_nothing(pair):
        verdict, thing, same = Verdict.DIFFERENT, 0.0, 0.0
    elif same >= used["same_photo"]:
        verdict = Verdict.ALTERED
    elif thing + same >= used["same_thing"]:
        verdict = Verdict.SAME_THING
    else:
        verdict = Verdict.DIFFERENT
    return PhotoAnswer(
        verdict,
        same,
        thing,
        changes_of(pair) if verdict is Verdict.ALTERED else (),
        None if verdict is Verdict.DIFFERENT else matched_regions(pair),
        pair,
    )


def _shows_nothing(pair: PhotoPair) -> bool:
    """Whether one of them is uniform, and no part of both agrees: its hash is then of rounding
    errors, which other processors make differently."""
    uniform = min(pair.first.pdq.quality, pair.second.pdq.quality) == 0
    return uniform and pair.agreement.agreeing == 0


def is_exact(first: PhotoPrint, second: PhotoPrint) -> bool:
    """Whether the photos are the same bytes, or the same pixels in files that differ elsewhere."""
    if first.sha256 == second.sha256:
        return True
    sizes = (first.width, first.height) == (second.width, second.height)
    return sizes and first.pdq == second.pdq and np.array_equal(first.pixels, second.pixels)


def probabilities(
    features: NDArray[np.float64], constants: Mapping[str, Any]
) -> NDArray[np.float64]:
    """The probability of each of CLASSES for rows of measures, (N, 3), rows of sum 1.

    A network with one hidden layer of tanh units; its outputs are divided by a temperature (Guo et
    al., "On Calibration of Modern Neural Networks", ICML 2017) before the softmax.

    Raises:
        ConfigurationError: the constants are of other measures.
    """
    if len(constants["mean"]) != features.shape[1]:
        raise ConfigurationError(
            f"The constants are of {len(constants['mean'])} measures of two photos; this version "
            f"has {len(FEATURES)}: fit them again (lalafo_assets/bench/duplicates/fit.py)."
        )
    standard = standardized(features, constants)
    hidden = np.tanh(standard @ np.array(constants["hidden"]) + np.array(constants["hidden_bias"]))
    outputs = hidden @ np.array(constants["weights"]) + np.array(constants["bias"])
    return softmax(outputs / float(constants["temperature"]))


def standardized(
    features: NDArray[np.float64], constants: Mapping[str, Any]
) -> NDArray[np.float64]:
    """Measures in standard deviations from their mean, at most CLIP of them."""
    mean, scale = np.array(constants["mean"]), np.array(constants["scale"])
    clipped: NDArray[np.float64] = np.clip((features - mean) / scale, -CLIP, CLIP)
    return clipped


def softmax(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows as probabilities, without overflow."""
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


@lru_cache(maxsize=1)
def installed_constants() -> Mapping[str, Any]:
    """The constants that this version ships with."""
    found: Mapping[str, Any] = json.loads(CONSTANTS.read_text("utf-8"))
    return found
