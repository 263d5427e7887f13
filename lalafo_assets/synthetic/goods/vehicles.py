"""Drawings of vehicles: cars from the side and the front, bicycles, prams."""

from lalafo_assets.synthetic.drawing.materials import (
    BLACK,
    GLASS,
    RUBBER,
    STEEL,
    WHITE,
    Colour,
    Material,
    cloth_colour,
    colour,
    fabric,
    plain,
    shade,
)
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Point, Sketch, arc, mirrored, rounded, soft


def _paint(dice: Dice) -> Material:
    base = dice.pick(
        (
            WHITE,
            BLACK,
            STEEL,
            (90, 94, 100),
            (170, 28, 32),
            (28, 52, 110),
            colour(dice),
            colour(dice),
        )
    )
    return plain(base)


def car(dice: Dice) -> Sketch:
    return _car_front(dice) if dice.chance(0.28) else _car_side(dice)


def _car_side(dice: Dice) -> Sketch:
    """A sedan, hatchback, estate or van, which differ in where the roof begins and ends."""
    skin = _paint(dice)
    sketch = Sketch(skin)
    roof = dice.between(-0.5, -0.36)
    kind = dice.pick(("sedan", "sedan", "hatch", "estate", "van"))
    back, rear = {
        "sedan": (-0.42, -0.78),
        "hatch": (-0.62, -0.86),
        "estate": (-0.84, -0.95),
        "van": (-0.93, -0.97),
    }[kind]
    front, screen = {"van": (0.36, 0.68)}.get(kind, (0.14, dice.between(0.4, 0.5)))
    roof -= 0.16 if kind == "van" else 0.0
    belt, sill, nose = -0.1, 0.24, dice.between(0.94, 1.02)
    body: list[Point] = [
        (-0.98, 0.18),
        (-1.0, -0.02),
        (rear - 0.02, belt - 0.03),
        (back, roof),
        (front, roof - 0.01),
        (screen, belt - 0.02),
        (nose - 0.1, 0.0),
        (nose, 0.1),
        (nose, 0.2),
        (0.9, sill),
        (-0.9, sill),
    ]
    sketch.poly(rounded(body, 0.09), skin)
    sketch.poly([(-0.97, 0.06), (nose, 0.08), (nose, 0.2), (-0.97, 0.2)], skin, tone=0.85)
    glass: list[Point] = [
        (rear + 0.13, belt),
        (back + 0.07, roof + 0.05),
        (front - 0.03, roof + 0.04),
        (screen - 0.07, belt),
    ]
    sketch.poly(rounded(glass, 0.05), shade(GLASS, dice.between(0.35, 0.9)))
    for x in (-0.16, -0.62) if kind in {"estate", "van"} else (-0.14,):
        sketch.line([(x, roof + 0.02), (x, belt)], skin, 0.04, tone=0.9)
    for x in (-0.16, 0.36):
        sketch.seam([(x, belt), (x - 0.02, sill - 0.05)], skin)
        sketch.box((x - 0.16, -0.03), (x - 0.06, -0.01), shade(skin.base, 0.5))
    sketch.poly(
        [(nose - 0.12, 0.02), (nose - 0.01, 0.08), (nose - 0.02, 0.12), (nose - 0.14, 0.1)],
        (250, 240, 200),
    )
    sketch.box((-1.0, -0.01), (-0.93, 0.1), (190, 30, 30))
    sketch.box((0.36, belt - 0.06), (0.45, belt + 0.03), skin, radius=0.02, tone=0.8)
    size = dice.between(0.18, 0.22)
    for x in (-0.6, 0.6):
        sketch.oval((x, sill - 0.01), size * 1.18, size * 1.18, (24, 24, 26))
        _wheel(sketch, dice, (x, sill + 0.02), size)
    return sketch


def _wheel(sketch: Sketch, dice: Dice, centre: Point, size: float) -> None:
    sketch.oval(centre, size, size, RUBBER)
    rim = STEEL if dice.chance(0.8) else (70, 70, 74)
    sketch.oval(centre, size * 0.64, size * 0.64, rim)
    spokes = 5
    for i in range(spokes):
        tip = arc(centre, size * 0.56, size * 0.56, i * 360 / spokes, i * 360 / spokes, 1)[0]
        sketch.line([centre, tip], shade(rim, 0.45), size * 0.2)
    sketch.oval(centre, size * 0.14, size * 0.14, rim)


def _car_front(dice: Dice) -> Sketch:
    skin = _paint(dice)
    sketch = Sketch(skin)
    roof = dice.between(-0.75, -0.55)
    for side in (-1, 1):
        sketch.box((side * 0.78 - 0.14, 0.3), (side * 0.78 + 0.14, 0.72), RUBBER, radius=0.05)
        sketch.poly(
            rounded(
                [
                    (side * 0.84, -0.2),
                    (side * 1.06, -0.24),
                    (side * 1.06, -0.08),
                    (side * 0.86, -0.1),
                ],
                0.04,
            ),
            skin,
            tone=0.8,
        )
    sketch.poly(
        rounded(mirrored([(0.6, roof), (0.82, -0.1), (0.95, 0.05), (0.96, 0.5), (0.86, 0.6)]), 0.1),
        skin,
    )
    sketch.poly(
        rounded(mirrored([(0.54, roof + 0.07), (0.74, -0.12)]), 0.05),
        shade(GLASS, dice.between(0.4, 0.9)),
    )
    sketch.seam([(-0.8, -0.07), (0.8, -0.07)], skin, 0.02)
    sketch.seam([(-0.55, -0.05), (-0.4, 0.14)], skin)
    sketch.seam([(0.55, -0.05), (0.4, 0.14)], skin)
    for side in (-1, 1):
        lamp: list[Point] = [
            (side * 0.56, 0.1),
            (side * 0.92, 0.04),
            (side * 0.9, 0.2),
            (side * 0.6, 0.22),
        ]
        sketch.poly(rounded(lamp, 0.05), (244, 240, 222))
        sketch.oval((side * 0.76, 0.14), 0.06, 0.06, STEEL)
        sketch.oval((side * 0.74, 0.44), 0.06, 0.05, (226, 226, 214))
    sketch.poly(rounded(mirrored([(0.48, 0.1), (0.4, 0.28)]), 0.04), BLACK)
    for i in range(3):
        sketch.line([(-0.42, 0.14 + i * 0.05), (0.42, 0.14 + i * 0.05)], STEEL, 0.015)
    sketch.oval((0.0, 0.18), 0.06, 0.06, STEEL)
    sketch.poly(rounded(mirrored([(0.55, 0.42), (0.5, 0.54)]), 0.04), BLACK)
    sketch.box((-0.24, 0.34), (0.24, 0.45), WHITE)
    for i in range(6):
        sketch.box((-0.19 + i * 0.065, 0.37), (-0.155 + i * 0.065, 0.42), BLACK)
    return sketch


def bicycle(dice: Dice) -> Sketch:
    frame: Colour = dice.pick((BLACK, WHITE, (190, 30, 36), colour(dice), colour(dice)))
    sketch = Sketch(plain(frame))
    size, tube = dice.between(0.38, 0.44), dice.between(0.032, 0.06)
    tyre = dice.between(0.03, 0.06)
    back: Point = (-0.58, 0.3)
    front: Point = (0.6, 0.3)
    crank: Point = (-0.1, 0.34)
    saddle: Point = (-0.24, -0.26)
    head: Point = (0.42, -0.3)
    for hub in (back, front):
        sketch.ring(hub, size, size, RUBBER, tyre)
        sketch.ring(hub, size * 0.9, size * 0.9, STEEL, 0.016)
        for i in range(12):
            tip = arc(hub, size * 0.9, size * 0.9, i * 30, i * 30, 1)[0]
            sketch.line([hub, tip], (176, 178, 182), 0.009)
        sketch.oval(hub, 0.05, 0.05, STEEL)
        if dice.chance(0.3):
            sketch.line(arc(hub, size * 1.1, size * 1.1, 200, 330, 14), frame, 0.03)
    low = dice.chance(0.35)
    top = (0.46, -0.16) if not low else (0.48, -0.06)
    joint = (-0.2, -0.12) if not low else (-0.14, 0.16)
    for a, b in ((back, crank), (back, joint), (crank, saddle), (crank, top), (joint, top)):
        sketch.line([a, b], frame, tube)
    sketch.line([head, top, front], frame, tube)
    sketch.line([saddle, (-0.26, -0.4)], STEEL, 0.03)
    sketch.poly(soft([(-0.44, -0.46), (-0.1, -0.44), (-0.08, -0.4), (-0.4, -0.36)], 1), BLACK)
    bar: list[Point] = dice.pick(
        (
            [(0.3, -0.46), (0.44, -0.44), (0.4, -0.3)],
            [(0.62, -0.2), (0.66, -0.36), (0.5, -0.42), (0.4, -0.4)],
            [(0.22, -0.5), (0.34, -0.52), (0.38, -0.4), (0.4, -0.3)],
        )
    )
    sketch.line(bar, BLACK, 0.04)
    sketch.ring(crank, 0.1, 0.1, STEEL, 0.03)
    sketch.line(
        [(crank[0] - 0.1, crank[1] + 0.14), crank, (crank[0] + 0.1, crank[1] - 0.14)], BLACK, 0.03
    )
    sketch.line([(crank[0], crank[1] + 0.1), (back[0], back[1] + 0.05)], BLACK, 0.012)
    if dice.chance(0.25):
        sketch.box((0.46, -0.42), (0.78, -0.16), (168, 124, 74), radius=0.03)
    return sketch


def stroller(dice: Dice) -> Sketch:
    """A pram: a hood over a basket, a handle, wheels."""
    cloth = fabric(dice, ("plain", "plain", "plain", "melange", "print", "check", "dots"))
    sketch = Sketch(cloth)
    metal = dice.pick((STEEL, BLACK, WHITE))
    for x in (-0.5, 0.5):
        sketch.line([(-x, -0.1), (x, 0.72)], metal, 0.045)
    sketch.line([(0.5, 0.1), (0.92, -0.52), (1.0, -0.56)], metal, 0.05)
    sketch.line([(0.88, -0.48), (1.02, -0.58)], BLACK, 0.07)
    basket = [(-0.74, -0.16), (0.66, -0.16), *arc((-0.04, -0.16), 0.7, 0.5, 0, 180, 14)]
    sketch.poly(basket, cloth)
    sketch.line([(-0.76, -0.15), (0.68, -0.15)], cloth, 0.05, tone=0.7)
    hood = [(-0.05, -0.16), *arc((-0.05, -0.16), 0.72, 0.78, 180, 292, 14)]
    roof = plain(cloth_colour(dice)) if dice.chance(0.3) else cloth
    sketch.poly(hood, roof, tone=0.9)
    for turn in (210, 240, 268):
        edge = arc((-0.05, -0.16), 0.72, 0.78, turn, turn, 1)[0]
        sketch.seam([(-0.05, -0.16), edge], roof, 0.02)
    size = dice.between(0.17, 0.27)
    for x in (-0.5, 0.5):
        sketch.ring((x, 0.72), size, size, RUBBER, 0.055)
        for i in range(8):
            sketch.line([(x, 0.72), arc((x, 0.72), size, size, i * 45, i * 45, 1)[0]], STEEL, 0.014)
        sketch.oval((x, 0.72), 0.05, 0.05, metal)
    return sketch
