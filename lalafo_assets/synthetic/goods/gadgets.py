"""Drawings of camera, headphones and watch."""

from lalafo_assets.synthetic.drawing.materials import (
    BLACK,
    RUBBER,
    STEEL,
    WHITE,
    Colour,
    cloth_colour,
    colour,
    shade,
    surface,
)
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Point, Sketch, arc, rounded
from lalafo_assets.synthetic.goods.screens import DARK_GLASS, casing, display


def camera(dice: Dice) -> Sketch:
    skin = surface(
        dice, dice.pick(("leather", "plain")), dice.pick((BLACK, (48, 46, 46), (96, 60, 40), WHITE))
    )
    metal = dice.pick((BLACK, STEEL, STEEL))
    sketch = Sketch(skin)
    tall = dice.between(0.52, 0.68)
    if dice.chance(0.5):
        strap = arc((0.0, -tall), 1.05, dice.between(0.3, 0.7), 180, 360)
        sketch.line(strap, dice.pick((BLACK, (120, 84, 52), colour(dice))), 0.06)
    hump = dice.chance(0.65)
    if hump:
        sketch.poly(
            rounded(
                [
                    (-0.3, -tall + 0.05),
                    (-0.2, -tall - 0.24),
                    (0.2, -tall - 0.24),
                    (0.3, -tall + 0.05),
                ],
                0.06,
            ),
            metal,
        )
    for x, wide in ((0.68, 0.14), (-0.72, 0.11)):
        sketch.box((x - wide, -tall - 0.1), (x + wide, -tall + 0.05), metal, radius=0.03)
    sketch.box((-1.0, -tall), (1.0, tall), skin, radius=0.12)
    sketch.box((-0.98, -tall), (0.98, -tall + 0.26), metal, radius=0.08)
    if not hump:
        sketch.box((0.32, -tall + 0.05), (0.66, -tall + 0.2), DARK_GLASS)
        sketch.box((-0.2, -tall + 0.06), (0.1, -tall + 0.19), (70, 76, 84))
    sketch.poly(
        rounded([(-1.04, -tall + 0.2), (-0.72, -tall + 0.2), (-0.72, tall), (-1.04, tall)], 0.1),
        skin,
        tone=0.8,
    )
    size = dice.between(0.48, 0.62)
    centre = (dice.around(0.05, 0.08), 0.08)
    for part, ink in (
        (1.0, RUBBER),
        (0.9, STEEL if dice.chance(0.4) else (62, 62, 66)),
        (0.82, BLACK),
        (0.62, (36, 40, 54)),
        (0.42, (52, 58, 88)),
        (0.2, BLACK),
    ):
        sketch.oval(centre, size * part, size * part, ink)
    sketch.oval((centre[0] - size * 0.25, centre[1] - size * 0.28), size * 0.12, size * 0.09, WHITE)
    sketch.oval((0.78, -tall + 0.4), 0.04, 0.04, (190, 60, 50))
    return sketch


def headphones(dice: Dice) -> Sketch:
    case = casing(dice)
    sketch = Sketch(case)
    band = dice.between(0.07, 0.14)
    wide = dice.between(0.62, 0.78)
    sketch.line(arc((0.0, 0.0), wide, 0.92, 180, 360, 30), case, band)
    pad = arc((0.0, 0.02), wide - band * 0.6, 0.92 - band * 0.7, 215, 325, 20)
    sketch.line(pad, RUBBER, band * 0.8)
    tall, thick = dice.between(0.34, 0.44), dice.between(0.18, 0.28)
    for side in (-1, 1):
        sketch.line([(side * wide, -0.1), (side * wide, 0.2)], STEEL, band * 0.6)
        sketch.box(
            (side * wide - side * thick * 0.9 - 0.06, 0.3 - tall * 0.92),
            (side * wide - side * thick * 0.1, 0.3 + tall * 0.92),
            RUBBER,
            radius=0.12,
        )
        sketch.oval((side * (wide + 0.02), 0.3), thick, tall, case)
        sketch.oval((side * (wide + 0.05), 0.3), thick * 0.55, tall * 0.6, shade(case.base, 0.75))
    if dice.chance(0.4):
        cable: list[Point] = [
            (-wide, 0.7),
            (-wide * 0.8, 0.95),
            (0.0, dice.between(0.8, 1.1)),
            (0.4, 1.1),
        ]
        sketch.line(cable, RUBBER, 0.03)
    return sketch


def watch(dice: Dice) -> Sketch:
    metal = dice.pick((STEEL, (206, 170, 96), BLACK, (150, 110, 84)))
    strap = surface(dice, dice.pick(("leather", "leather", "plain", "melange")))
    bracelet = dice.chance(0.4)
    sketch = Sketch(strap)
    size = dice.between(0.36, 0.44)
    wide = size * dice.between(0.55, 0.72)
    for side in (-1, 1):
        end = side * dice.between(0.95, 1.15)
        band = surface(dice, "metal", metal) if bracelet else strap
        sketch.poly(
            rounded(
                [(-wide, side * 0.25), (wide, side * 0.25), (wide * 0.8, end), (-wide * 0.8, end)],
                0.05,
            ),
            band,
        )
        for i in range(8):
            y = side * (size + 0.04) + (end - side * size) * i / 8
            if bracelet:
                sketch.line([(-wide, y), (wide, y)], shade(metal, 0.55), 0.022, casts=False)
            elif side > 0 and i > 1:
                sketch.oval((0.0, y), 0.022, 0.03, BLACK)
    square = dice.chance(0.3)
    sketch.box((size * 0.95, -0.06), (size * 1.14, 0.06), metal, radius=0.02)
    face = dice.pick((WHITE, BLACK, (30, 44, 84), (230, 220, 196), cloth_colour(dice)))
    for part, ink in ((1.0, metal), (0.9, shade(metal, 0.7)), (0.84, face)):
        r = size * part
        if square:
            sketch.box((-r, -r * 1.1), (r, r * 1.1), ink, radius=0.12)
        else:
            sketch.oval((0.0, 0.0), r, r, ink)
    _dial(sketch, dice, size, WHITE if sum(face) < 330 else BLACK, square)
    return sketch


def _dial(sketch: Sketch, dice: Dice, size: float, ink: Colour, square: bool) -> None:
    """Twelve marks and two hands, or figures on a small screen."""
    if square and dice.chance(0.5):
        display(sketch, dice, (-size * 0.7, -size * 0.8), (size * 0.7, size * 0.8), "icons")
        return
    for hour in range(12):
        (inner,) = arc((0.0, 0.0), size * 0.64, size * 0.64, hour * 30, hour * 30, 1)[:1]
        (outer,) = arc((0.0, 0.0), size * 0.77, size * 0.77, hour * 30, hour * 30, 1)[:1]
        sketch.line([inner, outer], ink, 0.034 if hour % 3 == 0 else 0.018)
    for length, width in ((0.4, 0.045), (0.62, 0.03)):
        turn = dice.between(0, 360)
        sketch.line(
            [(0.0, 0.0), arc((0.0, 0.0), size * length, size * length, turn, turn, 1)[0]],
            ink,
            width,
        )
    sketch.oval((0.0, 0.0), 0.03, 0.03, ink)
