"""Measures how dark and how bright a photo is, as features of a small network.

A product on white paper has many white pixels and is not overexposed; a black sofa has many black
ones and is not underexposed. So a uniform white or black background is set aside first, and the
rest of the photo is described by quantiles, in code values and in stops.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ops.photos.pixels import Pixels

SIDE = 160  # pixels of the longest side that is measured: exposure has no fine detail
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
SUBJECT_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
WHITE, BLACK = 245, 12  # code values: a background from, and up to
BACKGROUND = 0.5  # share of the outermost pixels
SMALLEST_SUBJECT = 0.03  # share of the photo; below it, nothing is set aside
FAINTEST = 2.0**-9  # of full linear light: added, so that black has a logarithm

_CODES = np.arange(256) / 255
LINEAR: NDArray[np.float64] = np.where(
    _CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4
)
"""(256,) float64 in [0, 1]: linear light by code value (IEC 61966-2-1, sRGB)."""

STOPS: NDArray[np.float64] = np.log2(LINEAR + FAINTEST)
"""(256,) float64: photographic stops by code value; 0 is full light, -9 black."""

FEATURES = (
    *(f"code_{q}" for q in QUANTILES),
    *(f"stops_{q}" for q in QUANTILES),
    *(f"subject_{q}" for q in SUBJECT_QUANTILES),
    "subject_mean_stops",
    "mean_stops",
    "clipped_any",
    "clipped_all",
    "crushed_any",
    "crushed_all",
    "chroma",
    "local_stops",
    "white_edge",
    "black_edge",
    "subject_clipped",
)
"""The names of the features, in their order."""


def exposure_features(pixels: Pixels, luma: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The exposure of a photo, (len(FEATURES),) float64, finite.

    The mean of the logarithm of light is the log-average luminance of Reinhard et al.,
    "Photographic Tone Reproduction for Digital Images" (SIGGRAPH 2002), equation 1.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        luma: (H, W) uint8, its ITU-R BT.601 luma.
    """
    small, rgb = _reduced(luma), _reduced(pixels)
    histogram = np.bincount(small.ravel(), minlength=256).astype(np.float64)
    codes = np.quantile(small, QUANTILES)
    edge = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    white, black = float((edge >= WHITE).mean()), float((edge <= BLACK).mean())
    subject = _subject(histogram, white, black)
    highest, lowest = rgb.max(axis=2), rgb.min(axis=2)
    return np.array(
        [
            *codes / 255,
            *STOPS[codes.astype(np.int64)],
            *STOPS[_quantiles(subject, SUBJECT_QUANTILES)],
            _mean_stops(subject),
            _mean_stops(histogram),
            (highest >= 250).mean(),
            (lowest >= 250).mean(),
            (lowest <= 3).mean(),
            (highest <= BLACK).mean(),
            (highest.astype(np.int16) - lowest).mean() / 255,
            _local_stops(small),
            white,
            black,
            subject[250:].sum() / subject.sum(),
        ]
    )


def _reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = max(1, max(pixels.shape[:2]) // SIDE)
    return pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor))


def _subject(histogram: NDArray[Any], white: float, black: float) -> NDArray[Any]:
    """The histogram without a white or black background, unless little would be left."""
    subject = histogram.copy()
    if white > BACKGROUND:
        subject[WHITE:] = 0
    if black > BACKGROUND:
        subject[: BLACK + 1] = 0
    return subject if subject.sum() >= SMALLEST_SUBJECT * histogram.sum() else histogram


def _quantiles(histogram: NDArray[Any], shares: tuple[float, ...]) -> NDArray[np.int64]:
    """The code values at these shares of a histogram."""
    below = np.cumsum(histogram) / histogram.sum()
    return np.minimum(np.searchsorted(below, shares), 255)


def _mean_stops(histogram: NDArray[Any]) -> float:
    return float((histogram * STOPS).sum() / histogram.sum())


def _local_stops(luma: NDArray[np.uint8]) -> float:
    """The mean difference of neighbours in stops: what is left of the detail."""
    if luma.shape[1] < 2:
        return 0.0
    return float(np.abs(np.diff(STOPS[luma], axis=1)).mean())
