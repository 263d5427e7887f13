"""Draws the backgrounds of photos: floors, bedsheets, walls, tables, grass, streets.

Does not depend on the good in front of them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from lalafo_assets.synthetic.drawing.materials import (
    Colour,
    Grid,
    Material,
    cloth_colour,
    colour,
    contrasting,
    fabric,
    hsv,
    picture,
    shade,
    smooth_noise,
    surface,
)
from lalafo_assets.synthetic.drawing.rng import Dice

Canvas = NDArray[np.float32]

FLAT = ("bedsheet", "bedsheet", "planks", "tiles", "carpet", "studio", "tabletop", "wall", "fur")
INDOORS = ("room", "room", "wall", "studio", "planks_room")
TABLE = ("tabletop", "tabletop", "bedsheet", "studio", "carpet", "planks", "wall")
OUTDOORS = ("street", "street", "grass", "studio", "yard")


def scenery(kind: str, shape: tuple[int, int], dice: Dice) -> Canvas:
    """A background: (H, W, 3) float32 in 0 to 255."""
    u, v = _grid(shape, dice)
    if kind in {"room", "planks_room", "street", "grass", "yard"}:
        return _two_zones(kind, shape, (u, v), dice)
    base = _flat(kind, (u, v), dice)
    if dice.chance(0.2):
        base = _clutter(base, dice)
    return base


def _ground_colour(dice: Dice) -> Colour:
    """A colour of floors, walls and covers: muted, and bright in one of six."""
    if dice.chance(0.16):
        return cloth_colour(dice)
    return hsv(dice.unit(), dice.between(0.0, 0.4), dice.between(0.25, 0.95))


def _grid(shape: tuple[int, int], dice: Dice) -> tuple[Grid, Grid]:
    """Rotated coordinates of a surface seen from above or slightly from the side."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(shape)
    angle = dice.pick((0.0, 0.0, 1.5708)) + dice.around(0.0, 0.35)
    lean = dice.between(0.0, 0.5)
    distance = 1.0 + lean * (1.0 - y)
    x = (x - 0.5) * distance
    y = (y - 0.5) * distance
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _flat(kind: str, grid: tuple[Grid, Grid], dice: Dice) -> Canvas:
    u, v = grid
    if kind == "bedsheet":
        return _sheet(u, v, dice)
    if kind == "planks":
        return _planks(u, v, dice)
    if kind == "tiles":
        return _tiles(u, v, dice)
    if kind in {"carpet", "fur"}:
        return _carpet(u.shape, kind, dice)
    if kind == "tabletop":
        wood = surface(dice, dice.pick(("wood", "wood", "melange", "plain")))
        return picture(wood, u * 2, v * 2).astype(np.float32)
    if kind == "wall":
        return _wall(u, v, dice)
    return _studio(u.shape, dice)


def _sheet(u: Grid, v: Grid, dice: Dice) -> Canvas:
    """Cloth with folds: plain or patterned, half each."""
    patterns = ("plain",) * 6 + ("print", "print", "check", "down", "melange", "dots", "tartan")
    cloth = fabric(dice, patterns)
    pixels = picture(cloth, u * 1.6, v * 1.6).astype(np.float32)
    cells = dice.whole(3, 7)
    folds = smooth_noise(dice, (u.shape[0], u.shape[1]), (cells, cells + dice.whole(0, 4)))
    fine = smooth_noise(dice, (u.shape[0], u.shape[1]), (cells * 3, cells * 2))
    depth = dice.between(0.05, 0.4)
    light = 1.0 + depth * (np.abs(folds - 0.5) * 2.0 - 0.5) + 0.3 * depth * (fine - 0.5)
    return _lit(pixels, light)


def _lit(pixels: NDArray[Any], light: NDArray[Any]) -> Canvas:
    """(H, W, 3) or one colour, times (H, W)."""
    lit: Canvas = pixels * light[..., None].astype(np.float32)
    return lit


def _planks(u: Grid, v: Grid, dice: Dice) -> Canvas:
    """A floor of boards, each with its own brightness."""
    rows, long = dice.between(4, 9), dice.between(1.0, 2.5)
    row = np.floor(v * rows)
    along = u * long + row * 0.37
    tone = np.sin(row * 12.9898 + np.floor(along) * 78.233) * 43758.547
    tone = tone - np.floor(tone)
    wood = surface(dice, "wood")
    if dice.chance(0.3):
        wood = surface(dice, "wood", hsv(0.08, dice.between(0.03, 0.2), dice.between(0.4, 0.9)))
    pixels = picture(wood, u * 3, v * rows * 0.8).astype(np.float32)
    gap = np.minimum(v * rows % 1.0, along % 1.0 * 4)
    light = (0.8 + 0.32 * tone) * np.where(gap < 0.04, 0.55, 1.0)
    return _lit(pixels, light)


def _tiles(u: Grid, v: Grid, dice: Dice) -> Canvas:
    """Square tiles with grout, or bricks."""
    count = dice.between(2.5, 9)
    bricks = dice.chance(0.3)
    y = v * count * (2 if bricks else 1)
    x = u * count + (0.5 * (np.floor(y) % 2) if bricks else 0.0)
    base = (
        colour(dice, value=(0.4, 0.8)) if bricks else hsv(dice.unit(), 0.12, dice.between(0.5, 1))
    )
    tone = np.sin(np.floor(x) * 12.9898 + np.floor(y) * 78.233) * 43758.547
    light = 0.92 + 0.14 * (tone - np.floor(tone)) + 0.03 * dice.grain(*u.shape)
    grout = np.minimum(x % 1.0, y % 1.0) < 0.045
    joint = dice.pick((0.6, 0.75, 1.2))
    light = np.where(grout, joint, light)
    return _lit(np.asarray(base, np.float32), light)


def _carpet(shape: tuple[int, int], kind: str, dice: Dice) -> Canvas:
    base = np.asarray(_ground_colour(dice), np.float32)
    if kind == "fur":
        cells = (shape[0] // 9 + 2, shape[1] // 9 + 2)
        light = 0.8 + 0.4 * smooth_noise(dice, shape, cells) + 0.05 * dice.grain(*shape)
    else:
        light = 1.0 + dice.between(0.05, 0.16) * dice.grain(*shape)
    return _lit(base, light)


def _wall(u: Grid, v: Grid, dice: Dice) -> Canvas:
    base = hsv(dice.unit(), dice.between(0.0, 0.45), dice.between(0.45, 0.97))
    paper = Material(
        dice.pick(("plain", "plain", "down", "print", "melange", "pinstripe")),
        base,
        shade(base, dice.between(0.86, 1.1)),
        dice.between(4, 10),
        dice.whole(0, 2**31),
    )
    return picture(paper, u * 1.5, v * 1.5).astype(np.float32)


def _studio(shape: tuple[int, int], dice: Dice) -> Canvas:
    """A plain background with a gradient from one colour to another."""
    if dice.chance(0.4):
        first = hsv(dice.unit(), 0.03, dice.between(0.85, 1.0))
        second = shade(first, dice.between(0.8, 1.0))
    else:
        first = _ground_colour(dice)
        second = shade(first, dice.between(0.5, 1.5))
    run = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None, None]
    if dice.chance(0.5):
        run = np.linspace(0, 1, shape[1], dtype=np.float32)[None, :, None]
    pixels = np.asarray(first, np.float32) * (1 - run) + np.asarray(second, np.float32) * run
    return np.broadcast_to(pixels, (*shape, 3)).copy()


def _two_zones(kind: str, shape: tuple[int, int], grid: tuple[Grid, Grid], dice: Dice) -> Canvas:
    """A wall above a floor, or the sky above the ground."""
    u, v = grid
    edge = int(shape[0] * dice.between(0.45, 0.8))
    if kind == "room" or kind == "planks_room":
        above = _wall(u[:edge], v[:edge], dice)
        ground = "planks" if kind == "planks_room" else dice.pick(("carpet", "tiles", "planks"))
        below = _flat(ground, (u[edge:], v[edge:] * 1.8), dice)
        board = max(1, int(shape[0] * 0.02))
        above[-board:] = np.asarray(dice.pick(((235, 232, 225), (120, 85, 55))), np.float32)
    else:
        above = _far(kind, (edge, shape[1]), dice)
        below = _ground(kind, (shape[0] - edge, shape[1]), dice)
    return np.concatenate([above, below])


def _far(kind: str, shape: tuple[int, int], dice: Dice) -> Canvas:
    """Sky, a hedge or a blurred row of houses."""
    sky = hsv(dice.around(0.57, 0.03), dice.between(0.05, 0.5), dice.between(0.7, 1.0))
    small = Image.new("RGB", (48, 24), sky)
    draw = ImageDraw.Draw(small)
    if kind == "grass":
        draw.rectangle((0, 14, 48, 24), fill=hsv(0.3, 0.5, dice.between(0.25, 0.5)))
    x = 0
    while kind != "grass" and x < 48:
        wide, top = dice.whole(5, 14), dice.whole(2, 18)
        draw.rectangle((x, top, x + wide, 24), fill=hsv(dice.unit(), 0.25, dice.between(0.3, 0.8)))
        x += wide
    far = small.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(far, dtype=np.float32).copy()


def _ground(kind: str, shape: tuple[int, int], dice: Dice) -> Canvas:
    if kind == "grass":
        base: Colour = hsv(dice.around(0.27, 0.06), dice.between(0.4, 0.7), dice.between(0.3, 0.6))
    else:
        base = hsv(dice.unit(), dice.between(0.0, 0.12), dice.between(0.3, 0.7))
    patches = smooth_noise(dice, shape, (6, 9))
    light = 0.9 + 0.2 * patches + dice.between(0.04, 0.12) * dice.grain(*shape)
    return _lit(np.asarray(base, np.float32), light)


def _clutter(base: Canvas, dice: Dice) -> Canvas:
    """Add other objects, out of focus and mostly at the edges."""
    height, width = base.shape[:2]
    cell = 6
    small = Image.fromarray(base[::cell, ::cell].clip(0, 255).astype(np.uint8))
    mask = Image.new("L", small.size, 0)
    draw, stencil = ImageDraw.Draw(small), ImageDraw.Draw(mask)
    for _ in range(dice.whole(1, 4)):
        x = dice.pick((dice.between(-0.15, 0.15), dice.between(0.8, 1.0))) * small.width
        y = dice.between(-0.1, 1.0) * small.height
        box = (x, y, x + dice.between(6, 24), y + dice.between(6, 28))
        fill = contrasting(dice, _ground_colour(dice))
        round_one = dice.chance(0.4)
        (draw.ellipse if round_one else draw.rectangle)(box, fill=fill)
        (stencil.ellipse if round_one else stencil.rectangle)(box, fill=255)
    blur = ImageFilter.GaussianBlur(dice.between(0.8, 2.5))
    size = (width, height)
    things = small.filter(blur).resize(size, Image.Resampling.BICUBIC)
    cover = mask.filter(blur).resize(size, Image.Resampling.BICUBIC)
    weight = np.asarray(cover, np.float32)[..., None] / 255.0
    return base * (1 - weight) + np.asarray(things, np.float32) * weight
