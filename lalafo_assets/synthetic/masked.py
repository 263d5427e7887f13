"""Draws photos of goods with the exact mask of what is for sale, for the task `segments`.

Owns how many goods a photo shows, what is behind them and how a camera blurs it. Does not depend on
networks. The same seed and backgrounds give the same arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lalafo_assets.synthetic.drawing.painter import paint
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.scenery import FLAT, INDOORS, OUTDOORS, TABLE, scenery
from lalafo_assets.synthetic.goods import GOODS
from lalafo_assets.synthetic.photos import CATEGORIES, exposed, look_of, pose_of

SCENES = tuple(sorted({*FLAT, *INDOORS, *TABLE, *OUTDOORS, "planks_room"}))
GOODS_A_PHOTO = (1, 1, 1, 1, 2, 2, 3)
EMPTY = 0.03  # share of the photos that show no good
BLURRED_BACKGROUND = 0.2
OTHER_BACKGROUND = 0.5  # share of the photos on a background that is not drawn, where there are any


@dataclass(frozen=True, slots=True, eq=False)
class MaskedPhoto:
    """A photo (H, W, 3) uint8 RGB, and the mask of its goods (H, W) float32 in 0 to 1: the share
    of each pixel that they cover. `things`: how many goods were drawn."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.float32]
    things: int


def draw_masked(
    seed: int,
    shape: tuple[int, int],
    backgrounds: Sequence[NDArray[np.uint8]] = (),
) -> MaskedPhoto:
    """Draw a photo of no, one or several goods.

    Args:
        shape: height and width, pixels.
        backgrounds: (H, W, 3) uint8 RGB each, of any size: half of the photos show one of them.
    """
    dice = Dice(seed, "masked")
    count = 0 if dice.chance(EMPTY) else dice.pick(GOODS_A_PHOTO)
    canvas = _background(shape, backgrounds, dice)
    if dice.chance(BLURRED_BACKGROUND):
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), dice.between(1.0, 5.0)), np.float32)
    mask = np.zeros(shape, np.float32)
    for index in range(count):
        good = GOODS[dice.pick(CATEGORIES)]
        pose = pose_of(good, dice)
        if count > 1:  # side by side, with some overlap
            place = 1.6 * (index + 0.5) / count - 0.8 + dice.around(0, 0.2)
            pose = replace(
                pose, share=dice.between(0.25, 0.48), shift=_along(shape, place, dice), lean=(0, 0)
            )
        canvas, silhouette = paint(good.draw(dice), canvas, pose, look_of(good, dice), dice)
        mask = np.maximum(mask, silhouette)
    return MaskedPhoto(exposed(canvas, dice), mask, count)


def _along(shape: tuple[int, int], place: float, dice: Dice) -> tuple[float, float]:
    """A shift along the longer side, and anywhere across it."""
    across = dice.around(0, 0.8)
    return (place, across) if shape[1] >= shape[0] else (across, place)


def _background(
    shape: tuple[int, int], backgrounds: Sequence[NDArray[np.uint8]], dice: Dice
) -> NDArray[np.float32]:
    if backgrounds and dice.chance(OTHER_BACKGROUND):
        chosen = dice.pick(backgrounds)
        resized = cv2.resize(chosen, shape[::-1], interpolation=cv2.INTER_AREA)
        return resized.astype(np.float32)
    return scenery(dice.pick(SCENES), shape, dice)
