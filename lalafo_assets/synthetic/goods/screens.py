"""Drawings of goods with a screen: phone, laptop, television."""

from lalafo_assets.synthetic.drawing.materials import (
    BLACK,
    STEEL,
    WHITE,
    Colour,
    Material,
    colour,
    hsv,
    shade,
    surface,
)
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Point, Sketch, rounded

DARK_GLASS: Colour = (26, 28, 34)


def casing(dice: Dice) -> Material:
    """Plastic or brushed metal: mostly black, white, grey."""
    base = dice.pick((BLACK, (44, 46, 50), WHITE, STEEL, (110, 112, 118), colour(dice)))
    return surface(dice, dice.pick(("plain", "plain", "metal")), base)


def display(sketch: Sketch, dice: Dice, corner: Point, opposite: Point, kind: str) -> None:
    """Draw a screen's content: off with a glare, a picture, a grid of icons, or text."""
    (x0, y0), (x1, y1) = corner, opposite
    wide, tall = x1 - x0, y1 - y0
    if kind == "off":
        sketch.box(corner, opposite, DARK_GLASS)
        lean = wide * dice.between(0.1, 0.3)
        left = x0 + wide * dice.between(0.1, 0.4)
        sketch.poly(
            [
                (left + lean, y0),
                (left + lean + wide * 0.25, y0),
                (left + wide * 0.25, y1),
                (left, y1),
            ],
            (46, 50, 58),
        )
        return
    sky = hsv(dice.unit(), dice.between(0.2, 0.7), dice.between(0.4, 0.95))
    sketch.box(corner, opposite, WHITE if kind == "text" else sky)
    if kind == "scene":
        sketch.oval(
            (x0 + wide * dice.between(0.2, 0.8), y0 + tall * 0.3),
            min(wide, tall) * 0.1,
            min(wide, tall) * 0.1,
            (250, 230, 150),
        )
        peak = x0 + wide * dice.between(0.2, 0.8)
        sketch.poly(
            [
                (x0, y1),
                (x0, y0 + tall * 0.7),
                (peak, y0 + tall * dice.between(0.3, 0.6)),
                (x1, y0 + tall * 0.75),
                (x1, y1),
            ],
            shade(sky, 0.5),
        )
        sketch.box((x0, y0 + tall * 0.85), opposite, shade(sky, 0.35))
    elif kind == "icons":
        columns = 4
        cell = wide / columns
        for row in range(int(tall / cell) - 1):
            for column in range(columns):
                x, y = x0 + cell * (column + 0.22), y0 + cell * (row + 0.5)
                sketch.box(
                    (x, y), (x + cell * 0.56, y + cell * 0.56), colour(dice), radius=cell * 0.12
                )
    else:
        sketch.box(corner, (x1, y0 + tall * 0.12), shade(sky, 0.8))
        for i in range(8):
            y = y0 + tall * (0.2 + i * 0.09)
            sketch.line(
                [(x0 + wide * 0.08, y), (x0 + wide * dice.between(0.4, 0.92), y)],
                (120, 124, 130),
                tall * 0.022,
            )


def phone(dice: Dice) -> Sketch:
    case = casing(dice)
    sketch = Sketch(case)
    half = dice.between(0.42, 0.52)
    radius = dice.between(0.06, 0.16)
    old = dice.chance(0.2)
    sketch.box((-half - 0.025, -1.0), (half + 0.025, 1.0), shade(case.base, 0.6), radius=radius)
    sketch.box((-half, -0.98), (half, 0.98), case, radius=radius)
    if dice.chance(0.35):
        _phone_back(sketch, dice, half, case)
        return sketch
    kind = dice.pick(("off", "icons", "icons", "scene", "text"))
    edge = dice.between(0.03, 0.06)
    top = 0.82 if old else 0.98 - edge
    if not old:
        sketch.box((-half + 0.015, -0.965), (half - 0.015, 0.965), BLACK, radius=radius * 0.9)
    display(sketch, dice, (-half + edge, -top), (half - edge, top), kind)
    if old:
        sketch.ring((0.0, 0.9), 0.06, 0.06, shade(case.base, 0.6), 0.015)
        sketch.box((-0.1, -0.91), (0.1, -0.89), shade(case.base, 0.5))
    else:
        notch = dice.between(0.03, 0.16)
        sketch.box((-notch, -0.95), (notch, -0.89), BLACK, radius=0.03)
    for y in (-0.4, -0.25):
        sketch.box((half + 0.015, y), (half + 0.04, y + 0.11), shade(case.base, 0.5))
    return sketch


def _phone_back(sketch: Sketch, dice: Dice, half: float, case: Material) -> None:
    """The back: a camera island in a corner, and a logo."""
    x, y = -half + 0.08, -0.9
    wide, tall = dice.between(0.2, 0.42), dice.between(0.3, 0.5)
    sketch.box((x, y), (x + wide, y + tall), shade(case.base, 0.8), radius=0.08)
    lenses = dice.whole(2, 3)
    for i in range(lenses):
        centre = (
            x + wide * (0.5 if wide < 0.3 else 0.3 + 0.4 * (i % 2)),
            y + tall * (0.2 + 0.6 * i / (lenses - 1)),
        )
        sketch.oval(centre, 0.085, 0.085, BLACK)
        sketch.oval(centre, 0.045, 0.045, (50, 60, 84))
    sketch.oval((0.0, 0.05), 0.09, 0.1, shade(case.base, 0.7 if sum(case.base) > 200 else 2.4))


def laptop(dice: Dice) -> Sketch:
    """An open laptop from the front: a lid that leans back, and a keyboard below it."""
    case = casing(dice)
    sketch = Sketch(case)
    half, top = 0.85, dice.between(-0.95, -0.7)
    near = half * dice.between(1.05, 1.3)
    depth = dice.between(0.42, 0.75)
    sketch.poly(rounded([(-half, top), (half, top), (half, 0.1), (-half, 0.1)], 0.05), case)
    edge = dice.between(0.04, 0.08)
    sketch.box((-half + edge * 0.4, top + edge * 0.4), (half - edge * 0.4, 0.06), BLACK)
    display(
        sketch,
        dice,
        (-half + edge, top + edge),
        (half - edge, 0.0),
        dice.pick(("off", "scene", "scene", "text", "icons")),
    )
    deck: list[Point] = [(-half, 0.1), (half, 0.1), (near, 0.1 + depth), (-near, 0.1 + depth)]
    sketch.poly(deck, case, tone=0.93)
    sketch.poly(
        [
            (-near, 0.1 + depth),
            (near, 0.1 + depth),
            (near * 0.98, 0.15 + depth),
            (-near * 0.98, 0.15 + depth),
        ],
        shade(case.base, 0.55),
    )
    keys = BLACK if sum(case.base) > 250 else (70, 72, 78)
    rows = 5
    for row in range(rows):
        y0 = 0.14 + depth * 0.58 * row / rows
        y1 = y0 + depth * 0.58 / rows * 0.78
        wide = half + (near - half) * (y0 - 0.1) / depth
        for column in range(13):
            x = wide * (-0.86 + 1.72 * column / 13)
            step = wide * 1.72 / 13 * 0.82
            sketch.poly([(x, y0), (x + step, y0), (x + step, y1), (x, y1)], keys, casts=False)
    y = 0.1 + depth * 0.7
    sketch.poly(
        [(-0.22, y), (0.22, y), (0.25, y + depth * 0.24), (-0.25, y + depth * 0.24)],
        shade(case.base, 0.8),
    )
    return sketch


def television(dice: Dice) -> Sketch:
    if dice.chance(0.2):
        return _tube_television(dice)
    case = surface(dice, "plain", dice.pick((BLACK, (40, 40, 44), (90, 92, 96), STEEL)))
    sketch = Sketch(case)
    tall = dice.between(0.54, 0.62)
    edge = dice.between(0.02, 0.05)
    if dice.chance(0.5):
        sketch.poly([(-0.12, tall), (0.12, tall), (0.16, tall + 0.12), (-0.16, tall + 0.12)], case)
        sketch.poly(
            rounded(
                [
                    (-0.45, tall + 0.11),
                    (0.45, tall + 0.11),
                    (0.5, tall + 0.16),
                    (-0.5, tall + 0.16),
                ],
                0.02,
            ),
            case,
            tone=0.8,
        )
    else:
        for side in (-1, 1):
            foot = [(side * 0.65, tall), (side * 0.78, tall + 0.14), (side * 0.52, tall + 0.14)]
            sketch.line([foot[1], foot[0], foot[2]], case, 0.04)
    sketch.box((-1.0, -tall), (1.0, tall + edge), case, radius=0.02)
    display(
        sketch,
        dice,
        (-1.0 + edge, -tall + edge),
        (1.0 - edge, tall - edge),
        dice.pick(("off", "off", "scene", "scene", "icons")),
    )
    sketch.oval((0.9, tall + edge * 0.4), 0.012, 0.012, (220, 40, 40))
    return sketch


def _tube_television(dice: Dice) -> Sketch:
    """A tube television: a deep box, a curved screen, knobs at the side, an aerial."""
    case = surface(dice, dice.pick(("wood", "plain")), None)
    sketch = Sketch(case)
    if dice.chance(0.6):
        for side in (-1, 1):
            sketch.line([(0.0, -0.7), (side * dice.between(0.3, 0.6), -1.15)], STEEL, 0.025)
    sketch.box((-0.95, -0.72), (0.95, 0.72), case, radius=0.1)
    sketch.poly(rounded([(-0.84, -0.6), (0.48, -0.6), (0.48, 0.6), (-0.84, 0.6)], 0.25), BLACK)
    sketch.poly(
        rounded([(-0.78, -0.54), (0.42, -0.54), (0.42, 0.54), (-0.78, 0.54)], 0.25), (88, 98, 96)
    )
    sketch.poly(
        rounded([(-0.66, -0.42), (-0.3, -0.42), (-0.46, 0.0), (-0.66, 0.1)], 0.08), (140, 152, 150)
    )
    for y in (-0.42, -0.1):
        sketch.oval((0.72, y), 0.13, 0.13, shade(case.base, 0.45))
        sketch.line([(0.72, y), (0.8, y - 0.08)], WHITE, 0.03)
    for i in range(5):
        sketch.line([(0.6, 0.2 + i * 0.08), (0.84, 0.2 + i * 0.08)], BLACK, 0.025)
    return sketch
