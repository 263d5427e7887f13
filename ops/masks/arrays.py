"""Masks as arrays: their run-length encoding, and the separate things in them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ops.masks.rle import EncodedMask, encode_counts

Mask = NDArray[np.bool_]
"""(H, W) bool, True inside."""


def encode_mask(mask: Mask) -> EncodedMask:
    """The run-length encoding of a mask."""
    height, width = mask.shape
    columns = mask.ravel(order="F")
    changes = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [columns.size]])).tolist()
    if columns[0]:
        runs.insert(0, 0)
    return EncodedMask(height, width, encode_counts(runs))


def decode_mask(mask: EncodedMask) -> Mask:
    """The mask of a run-length encoding."""
    runs = mask.runs
    inside = np.arange(len(runs)) % 2 == 1
    columns: NDArray[np.bool_] = np.repeat(inside, runs)
    return columns.reshape((mask.height, mask.width), order="F")


def intersection_over_union(one: Mask, other: Mask) -> float:
    """The share of what either mask covers that both cover; 1 for two empty masks."""
    either = int(np.count_nonzero(one | other))
    return 1.0 if either == 0 else int(np.count_nonzero(one & other)) / either


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """A connected part of a mask. `box`: left, top, width, height, in pixels. `area`: pixels.
    `inside`: the part, (height, width) bool, within its box."""

    box: tuple[int, int, int, int]
    area: int
    inside: Mask


def separate_things(mask: Mask, least_area: int) -> tuple[list[Thing], Mask]:
    """The connected parts of at least so many pixels, the largest first, and the mask of them.

    Pixels that touch at a corner are connected.
    """
    import cv2

    count, of, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    kept = [int(i) + 1 for i in np.argsort(-areas, kind="stable") if areas[i] >= least_area]
    things = []
    for part in kept:
        left, top, width, height = (int(value) for value in stats[part, :4])
        inside = of[top : top + height, left : left + width] == part
        things.append(Thing((left, top, width, height), int(stats[part, cv2.CC_STAT_AREA]), inside))
    return things, np.isin(of, kept) if kept else np.zeros_like(mask)
