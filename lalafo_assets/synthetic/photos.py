"""Generates labelled drawings of goods as photos for the demo, the tests and the starter release.

Owns how a camera renders a drawn good: light, grain, crop, size and format. Does not depend on ads,
HTTP or models. The same category and seed give the same bytes.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lalafo_assets.synthetic.drawing.painter import Look, Pose, paint
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.scenery import scenery
from lalafo_assets.synthetic.drawing.sketch import Sketch
from lalafo_assets.synthetic.goods import GOODS, Good

CATEGORIES: tuple[str, ...] = tuple(GOODS)
WORK_SIDE = 416
"""Pixels of the longest side at which a photo is drawn before it is scaled to its own size."""
SMALLEST, LARGEST = 200, 1600
"""Longest side of a photo, pixels, both ends included."""

_ASPECTS = (0.75, 0.75, 0.75, 0.667, 0.5625, 1.0, 0.8)  # short side over long
_ORIENTATIONS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90,
                 8: Image.Transpose.ROTATE_270, 2: Image.Transpose.FLIP_LEFT_RIGHT}  # fmt: skip
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class GeneratedPhoto:
    """One photo as a seller would upload it."""

    category: str
    data: bytes
    content_type: str
    width: int  # pixels, as stored: before EXIF orientation
    height: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What was drawn, for training on more than the category."""

    category: str
    pattern: str
    colour: tuple[int, int, int]
    scene: str
    tilt_degrees: float


def render(category: str, seed: int) -> GeneratedPhoto:
    """Draw one photo and encode it.

    Raises:
        KeyError: the category is not one of CATEGORIES.
    """
    dice = Dice(seed, category)
    pixels, _ = _picture(category, dice, WORK_SIDE)
    image = Image.fromarray(pixels)
    longest = round(SMALLEST * (LARGEST / SMALLEST) ** dice.around(0.47, 0.53))
    longest = max(SMALLEST, min(LARGEST, longest))
    scale = longest / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    resample = Image.Resampling.BILINEAR if scale > 1 else Image.Resampling.BOX
    return _encoded(category, image.resize(size, resample), dice)


def generate(count: int, seed: int) -> Iterator[GeneratedPhoto]:
    """`count` photos in a shuffled order, with the categories as balanced as possible.

    The photo at an index depends only on `seed` and the index, so that several processes can each
    make a part of a set: `render(*plan(count, seed)[i])` is the i-th photo.
    """
    for category, photo_seed in plan(count, seed):
        yield render(category, photo_seed)


def plan(count: int, seed: int) -> list[tuple[str, int]]:
    """The (category, seed) of every photo that `generate` yields, in the same order.

    Blocks of one photo per category are shuffled separately, so that a longer plan begins like a
    shorter one, and every block has every category.
    """
    result: list[tuple[str, int]] = []
    for block in range(-(-count // len(CATEGORIES))):
        order = np.random.default_rng([seed, block]).permutation(len(CATEGORIES))
        for place, index in enumerate(order.tolist()):
            result.append((CATEGORIES[index], seed * 1_000_003 + block * len(CATEGORIES) + place))
    return result[:count]


def pixels(category: str, seed: int, side: int) -> tuple[NDArray[np.uint8], Facts]:
    """Draw one picture without scaling and encoding, for training, which needs no file.

    Args:
        side: the longest side, pixels.

    Returns:
        (H, W, 3) uint8 RGB, and what was drawn.
    """
    return _picture(category, Dice(seed, category), side)


def _picture(category: str, dice: Dice, side: int) -> tuple[NDArray[np.uint8], Facts]:
    good = GOODS[category]
    short = round(side * dice.pick(_ASPECTS))
    sketch = good.draw(dice)
    shape = (short, side) if _is_landscape(sketch, dice) else (side, short)
    scene, background = _background(good, sketch, shape, dice)
    pose = pose_of(good, dice)
    canvas, _ = paint(sketch, background, pose, look_of(good, dice), dice)
    facts = Facts(category, sketch.main.pattern, sketch.main.base, scene, pose.tilt_degrees)
    return exposed(canvas, dice), facts


def _is_landscape(sketch: Sketch, dice: Dice) -> bool:
    """Whether the photo is wider than high; usually the good's own proportions decide."""
    points = np.concatenate([shape.points for shape in sketch.shapes])
    wide, high = (points.max(0) - points.min(0)).tolist()
    if wide > 1.2 * high:
        return dice.chance(0.8)
    return dice.chance(0.15 if high > 1.2 * wide else 0.35)


def _background(
    good: Good, sketch: Sketch, shape: tuple[int, int], dice: Dice
) -> tuple[str, NDArray[np.float32]]:
    """A scene and its background; up to three tries for one that contrasts with the good."""
    colour = np.asarray(sketch.main.base)
    look = (max(8, shape[0] // 8), max(8, shape[1] // 8))
    for _ in range(3):
        scene, seed = dice.pick(good.scenes), dice.whole(0, 2**31)
        glance = scenery(scene, look, Dice(seed, scene))
        middle = glance[look[0] // 4 : -(look[0] // 4), look[1] // 4 : -(look[1] // 4)]
        if np.abs(middle.mean((0, 1)) - colour).sum() > 110:
            break
    return scene, scenery(scene, shape, Dice(seed, scene))


def look_of(good: Good, dice: Dice) -> Look:
    """How such a good is lit: its folds, its relief and its shadow."""
    return Look(
        folds=good.folds * dice.between(0.3, 1.6),
        relief=good.relief * dice.between(0.5, 1.5),
        shadow=dice.between(0.1, 0.65),
    )


def pose_of(good: Good, dice: Dice) -> Pose:
    """How such a good is placed in a photo that shows it alone."""
    tilt = dice.around(0.0, good.tilt_degrees)
    if good.tilt_degrees > 12 and dice.chance(0.1):
        tilt += dice.pick((90.0, -90.0))  # the good lies across, or the phone was turned
    share = dice.between(0.7, 0.97) if dice.chance(0.82) else dice.between(0.97, 1.18)
    if dice.chance(0.1):
        share = dice.between(0.5, 0.7)
    return Pose(
        tilt_degrees=tilt,
        mirror=dice.chance(0.5),
        share=share,
        shift=(dice.around(0, 1), dice.around(0, 1)),
        lean=(dice.around(0, 0.12), dice.around(0, 0.14)),
        stretch=dice.around(1.0, 0.12),
    )


def exposed(canvas: NDArray[np.float32], dice: Dice) -> NDArray[np.uint8]:
    """Apply light from one side, vignette, warmth, contrast and grain, and convert to 8 bits."""
    height, width = canvas.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    light = 1.0 + dice.around(0, 0.22) * x + dice.around(0, 0.22) * y
    light = light - dice.between(0.0, 0.22) * (x * x + y * y)
    light = light * dice.around(1.06, 0.26)
    warmth = dice.around(0.0, 0.14)
    gains = np.array([1 + warmth, 1 + dice.around(0, 0.03), 1 - warmth], np.float32)
    contrast = dice.around(1.0, 0.22)
    lifted = canvas * (light * contrast)[..., None]
    lifted *= gains
    offset = np.float32(128.0 * (1 - contrast) + dice.between(0, 8))
    lifted += (dice.between(0.5, 9.0) * dice.grain(height, width) + offset)[..., None]
    return np.clip(lifted, 0, 255, out=lifted).astype(np.uint8)


def _encoded(category: str, image: Image.Image, dice: Dice) -> GeneratedPhoto:
    """Encode as JPEG, one in eight rotated by EXIF; some small photos as PNG or WebP."""
    buffer = io.BytesIO()
    small = max(image.size) <= 700
    kind = dice.unit()
    quality = dice.whole(55, 95)
    if small and kind < 0.04:
        image.save(buffer, "PNG", compress_level=1)
        content_type = "image/png"
    elif small and kind < 0.08:
        image.save(buffer, "WEBP", quality=quality, method=0)
        content_type = "image/webp"
    else:
        content_type = "image/jpeg"
        if dice.chance(0.125):
            tag = dice.pick(tuple(_ORIENTATIONS))
            image = image.transpose(_ORIENTATIONS[tag])
            exif = Image.Exif()
            exif[_EXIF_ORIENTATION] = tag
            image.save(buffer, "JPEG", quality=quality, exif=exif)
        else:
            image.save(buffer, "JPEG", quality=quality)
    return GeneratedPhoto(category, buffer.getvalue(), content_type, image.width, image.height)
