"""Drawings of trousers, shorts and skirts."""

from lalafo_assets.synthetic.drawing.materials import (
    WHITE,
    Material,
    contrasting,
    fabric,
    plain,
    shade,
)
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Point, Sketch, arc, mirrored

BOTTOMS = ("denim",) * 5 + ("plain",) * 4 + ("melange", "pinstripe", "check", "camouflage", "print")


def trousers(dice: Dice) -> Sketch:
    return _legs(dice, bottom=dice.between(0.95, 1.25))


def shorts(dice: Dice) -> Sketch:
    return _legs(dice, bottom=dice.between(-0.25, 0.1))


def _legs(dice: Dice, *, bottom: float) -> Sketch:
    """Waistband, two legs, and details such as pockets or stripes."""
    cloth = fabric(dice, BOTTOMS)
    sketch = Sketch(cloth)
    waist, hip = dice.between(0.36, 0.46), dice.between(0.46, 0.56)
    crotch = dice.between(-0.42, -0.28)
    long = bottom > 0.5
    width = dice.between(0.2, 0.34) if long else dice.between(0.36, 0.48)
    spread = dice.between(0.02, 0.2) if long else dice.between(0.05, 0.16)
    inner = spread + 0.01
    knee = (bottom + crotch) / 2
    leg: list[Point] = [
        (0.0, -0.86),
        (waist, -0.86),
        (hip, crotch - 0.12),
        (max(inner + width, hip * 0.82) if not long else (hip + inner + width) / 2, knee),
        (inner + width, bottom),
        (inner, bottom + dice.between(-0.03, 0.04)),
        (0.03 + spread * 0.4, knee),
        (0.0, crotch),
    ]
    for points, tone in ((leg, 1.0), ([(-x, y) for x, y in leg], 0.95)):
        sketch.poly(points, cloth, tone=tone)
        hem = 0.06 if long else 0.05
        sketch.seam([(points[4][0] * 0.99, bottom - hem), (points[5][0], bottom - hem)], cloth)
        if long:
            sketch.line(
                [(points[4][0] * 0.75, crotch + 0.2), (points[4][0] * 0.7, bottom - 0.1)],
                cloth,
                dice.between(0.02, 0.07),
                tone=dice.between(0.9, 1.18),
                casts=False,
            )
    band = cloth if dice.chance(0.7) else plain(contrasting(dice, cloth.base))
    sketch.poly(mirrored([(waist * 1.01, -0.95), (waist * 1.03, -0.84)]), band, tone=0.85)
    sketch.poly(mirrored([(waist * 0.85, -0.945), (waist * 0.5, -0.9)]), shade(cloth.base, 0.5))
    sketch.seam([(0.0, -0.84), (0.0, crotch)], cloth, 0.016)
    _details(sketch, dice, cloth, (waist, hip, crotch), leg)
    return sketch


def _details(
    sketch: Sketch,
    dice: Dice,
    cloth: Material,
    measures: tuple[float, float, float],
    leg: list[Point],
) -> None:
    """Jeans: fly, pockets, loops, a button; sportswear: stripes and a cord."""
    waist, hip, crotch = measures
    if cloth.pattern == "denim" or dice.chance(0.45):
        thread = plain(shade(cloth.base, 1.35) if sum(cloth.base) < 330 else (176, 122, 66))
        sketch.line(arc((0.0, -0.84), 0.1, (crotch + 0.8) * 0.85, 90, 0, 8), thread, 0.014)
        for side in (-1, 1):
            pocket = [
                (side * waist * 0.45, -0.84),
                (side * waist * 0.6, -0.7),
                (side * hip * 0.95, -0.62),
            ]
            sketch.line(pocket, thread, 0.016)
            sketch.box(
                (side * waist * 0.6 - 0.02, -0.97),
                (side * waist * 0.6 + 0.02, -0.82),
                shade(cloth.base, 0.8),
            )
        sketch.oval((0.0, -0.89), 0.026, 0.026, (184, 142, 82))
        return
    stripe = contrasting(dice, cloth.base)
    if dice.chance(0.5):
        for side in (-1, 1):
            edge = [(side * x * 0.92, y) for x, y in (leg[1], leg[2], leg[3], leg[4])]
            sketch.line(edge, stripe, dice.between(0.03, 0.08), casts=False)
    for side in (-1, 1):
        sketch.line(
            [(0.0, -0.88), (side * 0.05, -0.75), (side * 0.04, -0.62)], WHITE, 0.02, casts=False
        )


def skirt(dice: Dice) -> Sketch:
    patterns = ("plain",) * 4 + ("print", "print", "denim", "tartan", "dots", "across", "leather")
    cloth = fabric(dice, patterns)
    sketch = Sketch(cloth)
    waist = dice.between(0.3, 0.4)
    hem = waist * dice.pick((dice.between(1.1, 1.35), dice.between(1.5, 2.3)))
    bottom = dice.between(0.0, 0.95)
    wave = dice.between(0.0, 0.06)
    outline: list[Point] = [
        (waist, -0.8),
        (waist + (hem - waist) * 0.5, -0.8 + (bottom + 0.8) * 0.4),
        (hem, bottom),
    ]
    steps = dice.whole(3, 6)
    outline += [
        (hem * (1 - i / steps), bottom + (wave if i % 2 else 0.02)) for i in range(1, steps)
    ]
    sketch.poly(mirrored(outline), cloth)
    for i in range(dice.whole(2, 11) if dice.chance(0.75) else 0):
        part = -0.9 + 1.8 * (i + dice.between(0.2, 0.8)) / 11
        start = dice.pick((0.0, 0.0, 0.4))
        sketch.seam(
            [
                (part * (waist + (hem - waist) * start), -0.75 + (bottom + 0.75) * start),
                (part * hem, bottom),
            ],
            cloth,
            dice.between(0.012, 0.03),
        )
    band = cloth if dice.chance(0.6) else plain(contrasting(dice, cloth.base))
    sketch.poly(mirrored([(waist * 0.98, -0.9), (waist * 1.03, -0.77)]), band, tone=0.84)
    sketch.poly(mirrored([(waist * 0.8, -0.895), (waist * 0.5, -0.86)]), shade(cloth.base, 0.5))
    if dice.chance(0.4):
        y = bottom - dice.between(0.08, 0.3)
        sketch.line(
            [(-hem * 0.93, y), (0.0, y + 0.03), (hem * 0.93, y)],
            contrasting(dice, cloth.base),
            dice.between(0.015, 0.06),
            casts=False,
        )
    return sketch
