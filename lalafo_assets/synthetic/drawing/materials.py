"""Defines the materials of goods, each a colour, a pattern and its scale, and draws them on a grid.

Owns palettes and patterns. Does not depend on outlines.
"""

import colorsys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lalafo_assets.synthetic.drawing.rng import Dice

Colour = tuple[int, int, int]
Grid = NDArray[np.float32]
Pixels = NDArray[np.uint8]

PATTERNS = (
    "plain",
    "melange",
    "across",
    "down",
    "pinstripe",
    "check",
    "tartan",
    "dots",
    "print",
    "camouflage",
    "ombre",
    "knit",
    "denim",
    "wood",
    "metal",
    "leather",
)
FABRICS = (
    *("plain",) * 5,
    *("melange",) * 2,
    *("across", "down", "pinstripe", "check", "tartan", "dots"),
    *("print",) * 2,
    *("camouflage", "ombre", "knit", "denim"),
)

BLACK: Colour = (22, 22, 24)
WHITE: Colour = (240, 240, 236)
STEEL: Colour = (168, 172, 178)
RUBBER: Colour = (38, 38, 40)
GLASS: Colour = (120, 150, 168)


@dataclass(frozen=True, slots=True)
class Material:
    """A surface. `scale` is the number of repeats across one drawing unit."""

    pattern: str
    base: Colour
    accent: Colour
    scale: float
    seed: int


def colour(dice: Dice, *, value: tuple[float, float] = (0.25, 0.92)) -> Colour:
    """Any colour with a brightness (HSV value) within `value`; neon colours are rare."""
    saturation = 0.2 + 0.7 * dice.unit() ** 0.8
    if dice.chance(0.4):  # goods are often red or blue
        return hsv(
            dice.pick((0.97, 0.0, 0.6, 0.92)) + dice.around(0, 0.06),
            saturation,
            dice.between(*value),
        )
    hue = dice.unit()
    if 0.2 < hue < 0.52 or 0.72 < hue < 0.88:
        saturation *= 0.65
    return hsv(hue, saturation, dice.between(*value))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def cloth_colour(dice: Dice) -> Colour:
    """A colour as clothes have it: black, white, grey, navy or beige in about half of the cases."""
    roll = dice.unit()
    if roll < 0.14:
        return hsv(dice.unit(), 0.15, dice.between(0.07, 0.2))
    if roll < 0.27:
        return hsv(dice.unit(), 0.04, dice.between(0.85, 0.98))
    if roll < 0.37:
        return hsv(dice.unit(), 0.06, dice.between(0.3, 0.75))
    if roll < 0.47:
        return hsv(dice.around(0.61, 0.05), dice.between(0.4, 0.8), dice.between(0.2, 0.55))
    if roll < 0.55:
        return hsv(dice.around(0.09, 0.03), dice.between(0.2, 0.5), dice.between(0.55, 0.9))
    return colour(dice)


def fabric(dice: Dice, patterns: tuple[str, ...] = FABRICS) -> Material:
    """A textile with a random pattern from `patterns`."""
    pattern = dice.pick(patterns)
    base = cloth_colour(dice)
    if pattern == "denim":
        base = hsv(dice.around(0.6, 0.03), dice.between(0.25, 0.65), dice.between(0.2, 0.75))
    accent = contrasting(dice, base)
    return Material(pattern, base, accent, dice.between(3.0, 11.0), dice.whole(0, 2**31))


def contrasting(dice: Dice, base: Colour) -> Colour:
    """A colour that contrasts with `base`: another colour, or another shade of the same hue."""
    if dice.chance(0.3):
        factor = dice.between(0.45, 0.7) if sum(base) > 300 else dice.between(1.6, 2.4)
        return shade(base, factor)
    for _ in range(6):
        other = cloth_colour(dice)
        if sum(abs(a - b) for a, b in zip(base, other, strict=True)) > 160:
            return other
    return WHITE if sum(base) < 380 else BLACK


def plain(base: Colour, seed: int = 0) -> Material:
    return Material("plain", base, base, 1.0, seed)


def surface(dice: Dice, pattern: str, base: Colour | None = None) -> Material:
    """A hard material: wood, metal, leather or plain plastic; the colour is random if not given."""
    if base is None and pattern == "wood":
        base = hsv(dice.around(0.075, 0.03), dice.between(0.3, 0.7), dice.between(0.3, 0.85))
    elif base is None and pattern == "leather":
        base = hsv(dice.around(0.05, 0.05), dice.between(0.1, 0.75), dice.between(0.12, 0.65))
    elif base is None:
        base = cloth_colour(dice)
    return Material(pattern, base, shade(base, 0.72), dice.between(2.0, 6.0), dice.whole(0, 2**31))


def shade(base: Colour, factor: float) -> Colour:
    red, green, blue = (max(0, min(255, round(c * factor))) for c in base)
    return red, green, blue


def picture(material: Material, u: Grid, v: Grid) -> Pixels:
    """The material on a grid of drawing coordinates: (H, W) float32 each -> (H, W, 3) uint8."""
    if material.pattern == "plain":
        flat = np.empty((*u.shape, 3), np.uint8)
        flat[:] = material.base
        return flat
    dice = Dice(material.seed, material.pattern)
    if material.pattern == "print":
        return _printed(material, u, v, dice)
    mix = _mix(material.pattern, u * material.scale, v * material.scale, dice)
    image = Image.fromarray((np.clip(mix, 0.0, 1.0) * 255).astype(np.uint8)).convert("P")
    image.putpalette(_ramp(material.base, material.accent))
    return np.asarray(image.convert("RGB"))


def _ramp(base: Colour, accent: Colour) -> list[int]:
    """A palette of 256 colours from one to the other, as a flat list of red, green, blue."""
    steps = np.linspace(0.0, 1.0, 256)[:, None]
    ramp = np.asarray(base) * (1 - steps) + np.asarray(accent) * steps
    values: list[int] = ramp.astype(np.uint8).ravel().tolist()
    return values


def smooth_noise(dice: Dice, shape: tuple[int, int], cells: tuple[int, int]) -> Grid:
    """(H, W) float32, roughly in [0, 1]: bicubic noise of `cells` cells down and across."""
    seeds = Image.fromarray(dice.field(*cells))
    hills = seeds.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(hills, dtype=np.float32)


def _mix(pattern: str, u: Grid, v: Grid, dice: Dice) -> Any:
    """(H, W) floats: how much of the accent shows at each point, 0 to 1."""
    wide = dice.between(0.25, 0.6)
    if pattern == "across":
        return _band(v, wide)
    if pattern == "down":
        return _band(u, wide)
    if pattern == "pinstripe":
        return _band(u * 2.2 if dice.chance(0.7) else v * 2.2, 0.16)
    if pattern == "check":
        return 0.5 * _band(u, 0.5) + 0.5 * _band(v, 0.5)
    if pattern == "tartan":
        lines = 0.4 * _band(u, wide) + 0.4 * _band(v, wide)
        return lines + 0.5 * np.maximum(_band(u + 0.3, 0.07), _band(v + 0.3, 0.07))
    if pattern == "dots":
        x, y = u % 1.0 - 0.5, (v + 0.5 * (np.floor(u) % 2)) % 1.0 - 0.5
        return np.clip((wide * 0.6 - np.sqrt(x * x + y * y)) * 12, 0, 1)
    if pattern == "camouflage":
        hills = smooth_noise(dice, u.shape, (dice.whole(7, 14), dice.whole(7, 14)))
        return np.floor(hills * 3.99) / 3.0
    if pattern == "ombre":
        return v / (float(np.abs(v).max()) + 1e-6) * 0.5 + 0.5
    return _weave(pattern, u, v, dice)


def _weave(pattern: str, u: Grid, v: Grid, dice: Dice) -> Any:
    """Fine textures: knit, wood, metal, denim, leather and melange."""
    grain = dice.grain(*u.shape)
    if pattern == "knit":
        zigzag = np.abs(u * 2.5 % 1.0 - 0.5) * 2
        return 0.5 * np.abs((v * 2.5 + zigzag) % 1.0 - 0.5) + 0.04 * grain
    if pattern == "wood":
        waves = smooth_noise(dice, u.shape, (5, 4))
        rings = np.abs((v * 0.9 + waves * 2.2) % 1.0 - 0.5) * 2
        return 0.6 * rings + 0.06 * grain
    if pattern == "metal":
        return 0.45 + 0.45 * np.sin(u * 0.8 + dice.between(0, 6)) + 0.05 * grain
    if pattern == "denim":
        worn = smooth_noise(dice, u.shape, (6, 6))
        return 0.5 * np.clip(worn - 0.45, 0, 1) + 0.1 * grain
    if pattern == "leather":
        return 0.4 * smooth_noise(dice, u.shape, (30, 30)) + 0.08 * grain
    return 0.22 + 0.16 * grain  # melange


def _band(x: Grid, wide: float) -> Grid:
    """1 within the first `wide` of each unit, 0 elsewhere."""
    return (x % 1.0 < wide).astype(np.float32)


def _printed(material: Material, u: Grid, v: Grid, dice: Dice) -> Pixels:
    """A repeating print of flowers, leaves, rings or patches, from one small tile."""
    side = 96
    tile = Image.new("RGB", (side, side), material.base)
    draw = ImageDraw.Draw(tile)
    colours = [material.accent, colour(dice), shade(material.accent, 0.7)]
    motif = dice.pick(("flower", "leaf", "patch", "ring"))
    for _ in range(dice.whole(3, 8)):
        x, y, size = dice.between(0, side), dice.between(0, side), dice.between(6, 20)
        fill = dice.pick(colours)
        for dx in (-side, 0, side):
            for dy in (-side, 0, side):
                _motif(draw, motif, (x + dx, y + dy, size), fill, colours[1])
    repeat = max(0.8, material.scale / 4)
    columns = ((u * repeat % 1.0) * (side - 1)).astype(np.intp)
    rows = ((v * repeat % 1.0) * (side - 1)).astype(np.intp)
    pixels: Pixels = np.asarray(tile)[rows, columns]
    return pixels


def _motif(
    draw: ImageDraw.ImageDraw,
    motif: str,
    where: tuple[float, float, float],
    fill: Colour,
    heart: Colour,
) -> None:
    x, y, r = where
    if not (-r * 2 < x < 96 + r * 2 and -r * 2 < y < 96 + r * 2):
        return
    if motif == "flower":
        for dx, dy in ((0, -1), (0.95, -0.3), (0.6, 0.8), (-0.6, 0.8), (-0.95, -0.3)):
            cx, cy = x + dx * r * 0.5, y + dy * r * 0.5
            draw.ellipse((cx - r * 0.42, cy - r * 0.42, cx + r * 0.42, cy + r * 0.42), fill=fill)
        draw.ellipse((x - r * 0.25, y - r * 0.25, x + r * 0.25, y + r * 0.25), fill=heart)
    elif motif == "leaf":
        draw.polygon([(x - r, y), (x, y - r * 0.4), (x + r, y), (x, y + r * 0.4)], fill=fill)
    elif motif == "ring":
        draw.ellipse((x - r, y - r, x + r, y + r), outline=fill, width=3)
    else:
        draw.rectangle((x - r * 0.7, y - r * 0.5, x + r * 0.7, y + r * 0.5), fill=fill)
