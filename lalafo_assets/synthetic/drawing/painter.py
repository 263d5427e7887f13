"""Renders a sketch over a background as pixels, with shadow, relief, folds and light.

Owns how a drawing is placed on the canvas and lit. Does not depend on file formats.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from lalafo_assets.synthetic.drawing.materials import Material, picture, shade, smooth_noise
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Shape, Sketch

Pixels = NDArray[np.uint8]
Canvas = NDArray[np.float32]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pose:
    """How a good is placed in the photo."""

    tilt_degrees: float
    mirror: bool
    share: float  # of the canvas that the good's bounding box takes; above 1 it is cropped
    shift: tuple[float, float]  # of the free space around the good, -1 to 1
    lean: tuple[float, float]  # perspective, per drawing unit
    stretch: float  # factor on the drawing's own ratio of width to height


@dataclass(frozen=True, slots=True)
class Look:
    """How soft the good is, and how light and shadow fall."""

    folds: float  # 0 for hard goods
    relief: float
    shadow: float


def paint(
    sketch: Sketch, background: Canvas, pose: Pose, look: Look, dice: Dice
) -> tuple[Canvas, Canvas]:
    """Paint the sketch over the background.

    Args:
        background: (H, W, 3) float32 in 0 to 255; not mutated.

    Returns:
        The picture (H, W, 3) float32 in 0 to 255, and the silhouette (H, W) float32 in 0 to 1.
    """
    height, width = background.shape[:2]
    matrix, shapes = _place(sketch, pose, (height, width))
    silhouette = _silhouette(shapes, (height, width))
    ground = background * _shadow(silhouette, look.shadow, dice)[..., None]
    canvas = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    canvas = canvas.resize((width * 2, height * 2), Image.Resampling.NEAREST)
    _draw(canvas, shapes, matrix)
    pixels = np.asarray(canvas.reduce(2), dtype=np.float32)
    mask = np.asarray(silhouette, dtype=np.float32) / 255.0
    light = 1.0 + mask * _relief(silhouette, look, dice)
    return pixels * light[..., None], mask


def _place(sketch: Sketch, pose: Pose, shape: tuple[int, int]) -> tuple[Matrix, list[Shape]]:
    """The drawing-to-pixels matrix (2, 3), without lean, and the shapes in the canvas's pixels."""
    angle = np.radians(pose.tilt_degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    side = -pose.stretch if pose.mirror else pose.stretch
    turn = np.array([[cos * side, -sin], [sin * side, cos]])
    bent = []
    for item in sketch.shapes:
        points = item.points @ turn.T
        depth = 1.0 + points @ np.asarray(pose.lean)
        bent.append(points / np.maximum(depth, 0.4)[:, None])
    everything = np.concatenate(bent)
    low, high = everything.min(0), everything.max(0)
    height, width = shape
    size = np.array([width, height], np.float64)
    scale = float((size * pose.share / np.maximum(high - low, 1e-6)).min())
    spare = np.maximum(size - (high - low) * scale, 0.0) / 2
    offset = size / 2 + spare * np.asarray(pose.shift) * 0.8 - (low + high) / 2 * scale
    shapes = [
        Shape(points * scale + offset, item.fill, item.width * scale, item.tone, item.casts)
        for points, item in zip(bent, sketch.shapes, strict=True)
    ]
    return np.column_stack([turn * scale, offset]), shapes


def _silhouette(shapes: list[Shape], shape: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", (shape[1], shape[0]), 0)
    draw = ImageDraw.Draw(mask)
    for item in shapes:
        if item.casts:
            _stamp(draw, item, 1.0, 255)
    return mask


def _stamp(
    draw: ImageDraw.ImageDraw, item: Shape, scale: float, ink: int | tuple[int, int, int]
) -> None:
    points = (item.points * scale).ravel().tolist()
    if item.width > 0:
        wide = max(1, round(item.width * scale))
        draw.line(points, fill=ink, width=wide, joint="curve" if wide > 3 else None)
        if wide > 4:
            for x, y in ((points[0], points[1]), (points[-2], points[-1])):
                r = wide / 2
                draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    elif len(item.points) > 2:
        draw.polygon(points, fill=ink)


def _draw(canvas: Image.Image, shapes: list[Shape], matrix: Matrix) -> None:
    """Draw the shapes at twice the size; textures are pasted through a mask of each shape's box."""
    draw = ImageDraw.Draw(canvas)
    textures: dict[Material, Image.Image] = {}
    for item in shapes:
        fill = item.fill
        if isinstance(fill, Material):
            if fill.pattern != "plain" and item.width == 0:
                if fill not in textures:
                    textures[fill] = _texture(fill, canvas.size, matrix)
                _paste(canvas, item, textures[fill])
                continue
            fill = fill.base
        _stamp(draw, item, 2.0, shade(fill, item.tone) if item.tone != 1.0 else fill)


def _texture(material: Material, size: tuple[int, int], matrix: Matrix) -> Image.Image:
    width, height = size[0] // 2, size[1] // 2
    inverse = np.linalg.inv(matrix[:, :2]).astype(np.float32)
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32(matrix[0, 2])
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(matrix[1, 2])
    u = inverse[0, 0] * x + inverse[0, 1] * y
    v = inverse[1, 0] * x + inverse[1, 1] * y
    tile = Image.fromarray(picture(material, u, v))
    return tile.resize(size, Image.Resampling.NEAREST)


def _paste(canvas: Image.Image, item: Shape, texture: Image.Image) -> None:
    """Paste the texture inside the shape, darkened or lightened by the shape's tone."""
    points = item.points * 2.0
    low = np.maximum(np.floor(points.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(points.max(0)) + 1, canvas.size).astype(int)
    if (high <= low).any():
        return
    box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    mask = Image.new("L", (box[2] - box[0], box[3] - box[1]), 0)
    ImageDraw.Draw(mask).polygon((points - low).ravel().tolist(), fill=255)
    canvas.paste(texture.crop(box), box, mask)
    if item.tone != 1.0:
        share = min(1.0, abs(1.0 - item.tone))
        ink = (0, 0, 0) if item.tone < 1.0 else (255, 255, 255)
        canvas.paste(ink, box, mask.point([round(i * share) for i in range(256)]))


def _shadow(silhouette: Image.Image, depth: float, dice: Dice) -> Canvas:
    """(H, W) float32: the share of light that the good's shadow leaves."""
    width, height = silhouette.size
    reach = max(width, height) * dice.between(0.008, 0.035)
    small = silhouette.reduce(4).filter(ImageFilter.GaussianBlur(reach / 4 + 0.5))
    blurred = np.asarray(small.resize(silhouette.size, Image.Resampling.BILINEAR), np.float32)
    dx, dy = int(dice.between(-1, 1) * reach), int(dice.between(-0.3, 1) * reach)
    return 1.0 - depth / 255.0 * np.roll(blurred, (dy, dx), (0, 1))


def _relief(silhouette: Image.Image, look: Look, dice: Dice) -> Canvas:
    """(H, W) float32 around 0: light on a rounded body, plus folds if the good is soft."""
    shape = (silhouette.height, silhouette.width)
    step = max(2, max(shape) // 60)
    small = silhouette.reduce(4).filter(ImageFilter.GaussianBlur(step * 0.6))
    hill = np.asarray(small.resize(silhouette.size, Image.Resampling.BILINEAR), np.float32) / 255
    dx, dy = dice.pick((-1, 1)), 1
    lit = hill - np.roll(hill, (dy * step, dx * step), (0, 1))
    light = look.relief * (lit * 0.8 + 0.35 * (hill - 1.0))
    if look.folds > 0:
        cells = (dice.whole(3, 9), dice.whole(4, 12))
        waves = smooth_noise(dice, shape, cells)
        fine = smooth_noise(dice, shape, (cells[0] * 3, cells[1] * 2))
        creases = np.abs(waves - 0.5) * 2.0 - 0.45 + 0.5 * (fine - 0.5)
        light = light + look.folds * creases
    return np.asarray(light, dtype=np.float32)
