"""Measures how much of a photo is drawn instead of photographed, as features of a small network.

Screens and text cards have areas of exactly one colour, with text on them. Photographs have grain
and gradients. Each small part is described by how few colours it has.
"""

import numpy as np
from numpy.typing import NDArray

BLOCK = 16  # pixels of the side of a part
FLAT, EXACT = (
    6,
    1,
)  # largest difference of code values in a part of one colour; the same, to the bit
CONTRAST = 70  # least difference of code values in a part with text
NEAR = 8  # code values around the colour of the ground

FEATURES = ("text", "two_colours", "flat", "exact", "natural", "clear_text", "equal_neighbours")
"""The names of the features, in their order. Each is a share, in [0, 1]."""


def graphics_features(luma: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The shares of parts with text, of two colours, of one colour, and of others.

    The part of the variance that two colours explain is Otsu's criterion, "A Threshold Selection
    Method from Gray-Level Histograms" (IEEE SMC 1979), at the middle between the darkest and the
    brightest pixel.

    Args:
        luma: (H, W) uint8.

    Returns:
        (len(FEATURES),) float64; zeros for a photo that is smaller than a part.
    """
    parts = _parts(luma)
    if len(parts) == 0:
        return np.zeros(len(FEATURES))
    low = parts.min(axis=(1, 2)).astype(np.float32)
    contrast = parts.max(axis=(1, 2)) - low
    busy = contrast >= CONTRAST
    text, clear, two = (np.zeros(len(parts), bool) for _ in range(3))
    if busy.any():
        text[busy], clear[busy], two[busy] = _two_colours(
            parts[busy], (low + contrast / 2)[busy, None, None]
        )
    flat = contrast <= FLAT
    equal = 0.0
    if luma.shape[1] > 1:
        step = luma[:, 1:].astype(np.int16) - luma[:, :-1]
        equal = float((np.abs(step) <= EXACT).mean())
    natural = ~(flat | text | two)
    shares = (text, two, flat, contrast <= EXACT, natural, clear)
    return np.array([*(it.mean() for it in shares), equal])


def _parts(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The parts of a photo, (N, BLOCK, BLOCK) uint8; what is left at the right and below is not."""
    rows, columns = luma.shape[0] // BLOCK, luma.shape[1] // BLOCK
    whole = luma[: rows * BLOCK, : columns * BLOCK]
    split = whole.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
    return split.reshape(-1, BLOCK, BLOCK)


def _two_colours(
    parts: NDArray[np.uint8], middle: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which parts have text, clear text, and two colours: (N,) bool each."""
    size = BLOCK**2
    values = parts.astype(np.float32)
    bright = values > middle
    n_bright = bright.sum(axis=(1, 2))
    n_dark = size - n_bright
    total = values.sum(axis=(1, 2))
    sum_bright = (values * bright).sum(axis=(1, 2))
    mean_bright = sum_bright / np.maximum(n_bright, 1)
    mean_dark = (total - sum_bright) / np.maximum(n_dark, 1)
    between = n_bright * n_dark / size * (mean_bright - mean_dark) ** 2
    variance = (values * values).sum(axis=(1, 2)) - total * total / size
    explained = between / np.maximum(variance, 1)
    ground = np.where(n_bright > n_dark, mean_bright, mean_dark)
    near = (np.abs(values - ground[:, None, None]) <= NEAR).mean(axis=(1, 2))
    changes = (bright[:, :, 1:] != bright[:, :, :-1]).sum(axis=(1, 2))
    text = (explained > 0.75) & (changes >= 20) & (near > 0.35)
    return text, text & (near > 0.5), (explained > 0.85) & (near > 0.5)
