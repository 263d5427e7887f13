"""Drawings of t-shirts, sweaters and shirts."""

from lalafo_assets.synthetic.drawing.materials import WHITE, contrasting, fabric, plain, shade
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Sketch, mirrored, reflected
from lalafo_assets.synthetic.goods.tailoring import (
    Body,
    armholes,
    artwork,
    hanger,
    neckline,
    sleeves,
)

SHIRTINGS = ("plain",) * 4 + ("pinstripe", "down", "check", "tartan", "tartan", "print", "dots")


def t_shirt(dice: Dice) -> Sketch:
    cloth = fabric(dice)
    sketch = Sketch(cloth)
    body = Body(dice)
    hanger(sketch, body, dice)
    arms = cloth if dice.chance(0.85) else plain(contrasting(dice, cloth.base))
    sleeves(sketch, body, dice, length=dice.between(0.3, 0.5), cloth=arms)
    sketch.poly(body.torso(), cloth)
    armholes(sketch, body, arms)
    trim = shade(arms.base, dice.between(0.7, 0.95)) if dice.chance(0.7) else WHITE
    neckline(sketch, body, dice, cloth, trim)
    if dice.chance(0.55):
        where = (dice.around(0, 0.04), body.pit + dice.between(0.05, 0.35))
        artwork(sketch, dice, cloth, where, dice.between(0.16, 0.32))
    sketch.seam(
        [(-body.hem * 0.97, body.bottom - 0.09), (body.hem * 0.97, body.bottom - 0.09)], cloth
    )
    return sketch


def sweater(dice: Dice) -> Sketch:
    """A jumper or a long-sleeved top: ribs at hem and cuffs, no opening in front."""
    patterns = ("plain", "melange", "knit", "knit", "across", "across", "print", "ombre", "dots")
    cloth = fabric(dice, patterns)
    sketch = Sketch(cloth)
    body = Body(dice, length=(0.3, 0.7))
    hanger(sketch, body, dice)
    arms = cloth if dice.chance(0.85) else plain(contrasting(dice, cloth.base))
    sleeves(sketch, body, dice, length=dice.between(0.95, 1.25), cloth=arms)
    sketch.poly(body.torso(sag=0.0), cloth)
    armholes(sketch, body, arms)
    trim = shade(cloth.base, dice.between(0.7, 0.95))
    if dice.chance(0.25):
        neck = body.neck * 0.95
        sketch.box((-neck, body.top - 0.14), (neck, body.top + 0.06), trim, radius=0.04)
    else:
        neckline(sketch, body, dice, cloth, trim)
    sketch.poly(
        mirrored([(body.hem * 0.97, body.bottom - 0.06), (body.hem * 0.86, body.bottom + 0.06)]),
        plain(trim),
    )
    if dice.chance(0.4):
        artwork(sketch, dice, cloth, (0.0, body.pit + 0.15), dice.between(0.16, 0.3))
    return sketch


def shirt(dice: Dice) -> Sketch:
    """A collar of two flaps, a row of buttons, cuffs and often a pocket."""
    cloth = fabric(dice, SHIRTINGS)
    sketch = Sketch(cloth)
    body = Body(dice, length=(0.55, 0.9))
    hanger(sketch, body, dice)
    long = dice.chance(0.7)
    sleeves(sketch, body, dice, cloth=cloth, length=dice.between(0.95, 1.2) if long else 0.42)
    sketch.poly(body.torso(sag=dice.between(0.02, 0.12)), cloth)
    armholes(sketch, body, cloth)
    open_to = body.top + dice.between(0.05, 0.3)
    neck = body.neck
    sketch.poly(
        [(-neck, body.top), (neck, body.top), (0.0, open_to + 0.05)], shade(cloth.base, 0.55)
    )
    half = 0.045
    sketch.poly(
        [
            (-half, open_to),
            (half, open_to),
            (half, body.bottom + 0.01),
            (-half, body.bottom + 0.01),
        ],
        cloth,
        tone=0.93,
    )
    sketch.seam([(half, open_to), (half, body.bottom)], cloth)
    button = WHITE if dice.chance(0.6) else shade(cloth.base, 0.5)
    count = dice.whole(5, 7)
    for i in range(count):
        y = open_to + 0.06 + (body.bottom - open_to - 0.12) * i / (count - 1)
        sketch.oval((0.0, y), 0.019, 0.019, button)
    flap = [
        (neck * 0.85, body.top - 0.06),
        (neck * 1.35, body.top + 0.06),
        (neck * 0.85, body.top + 0.26),
        (0.02, open_to + 0.02),
    ]
    collar = cloth if dice.chance(0.85) else plain(WHITE)
    for points in (flap, reflected(flap)):
        sketch.poly(points, collar, tone=1.08)
        sketch.seam([*points[1:], points[0]], collar)
    for side in (-1, 1):
        if dice.chance(0.5):
            x, y = side * body.chest * 0.5, body.pit + 0.04
            sketch.poly(
                [
                    (x - 0.12, y),
                    (x + 0.12, y),
                    (x + 0.12, y + 0.2),
                    (x, y + 0.25),
                    (x - 0.12, y + 0.2),
                ],
                cloth,
                tone=0.94,
            )
            sketch.seam([(x - 0.12, y + 0.05), (x + 0.12, y + 0.05)], cloth)
    return sketch
