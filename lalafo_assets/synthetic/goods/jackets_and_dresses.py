"""Drawings of jackets and dresses."""

from lalafo_assets.synthetic.drawing.materials import (
    BLACK,
    STEEL,
    Material,
    contrasting,
    fabric,
    plain,
    shade,
    surface,
)
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Point, Sketch, arc, mirrored, reflected, rounded
from lalafo_assets.synthetic.goods.tailoring import Body, armholes, hanger, neckline, sleeves

COATS = ("plain",) * 5 + ("melange", "leather", "denim", "print", "camouflage", "tartan")


def jacket(dice: Dice) -> Sketch:
    """A padded jacket, a hooded one, or a coat with lapels."""
    cloth = fabric(dice, COATS)
    sketch = Sketch(cloth)
    body = Body(dice, length=dice.pick(((0.25, 0.5), (0.7, 1.15))))
    kind = dice.pick(("padded", "padded", "hooded", "coat"))
    hanger(sketch, body, dice)
    vest = kind == "padded" and dice.chance(0.2)
    if kind == "hooded" or dice.chance(0.3):
        hood = arc((0.0, body.top + 0.04), body.neck * 1.7, 0.36, 180, 360)
        sketch.poly(hood, cloth, tone=0.82)
        lining = arc((0.0, body.top + 0.06), body.neck * 1.15, 0.24, 180, 360)
        sketch.poly(lining, surface(dice, "melange") if dice.chance(0.5) else BLACK)
    if not vest:
        sleeves(sketch, body, dice, length=dice.between(0.95, 1.15), cloth=cloth, wide=1.2)
    sketch.poly(body.torso(flare=1.05, sag=0.0), cloth)
    armholes(sketch, body, cloth)
    if kind == "padded":
        gap = dice.between(0.12, 0.22)
        y = body.top + 0.25
        while y < body.bottom - 0.06:
            wide = body.chest * 0.99
            sketch.line(
                [(-wide, y), (-wide / 2, y + 0.02), (0, y), (wide / 2, y + 0.02), (wide, y)],
                cloth,
                0.022,
                tone=0.6,
                casts=False,
            )
            sketch.line([(-wide, y + 0.03), (wide, y + 0.03)], cloth, 0.02, tone=1.3, casts=False)
            y += gap
    _closing(sketch, body, dice, kind, cloth)
    for side in (-1, 1):
        x, y = side * body.waist * 0.62, body.bottom - (body.bottom - body.pit) * 0.35
        sketch.line([(x - side * 0.1, y), (x + side * 0.06, y + 0.2)], cloth, 0.03, tone=0.55)
    return sketch


def _closing(sketch: Sketch, body: Body, dice: Dice, kind: str, cloth: Material) -> None:
    """A zip, or a double row of buttons below lapels; and the collar."""
    neck = body.neck
    if kind == "coat":
        sketch.poly(
            [(-neck, body.top), (neck, body.top), (0.0, body.pit + 0.15)], surface(dice, "plain")
        )
        lapel = [
            (neck * 0.7, body.top - 0.05),
            (neck * 1.5, body.top + 0.05),
            (neck * 1.55, body.pit - 0.08),
            (0.0, body.pit + 0.2),
        ]
        for points in (lapel, reflected(lapel)):
            sketch.poly(points, cloth, tone=0.85)
            sketch.seam([*points, points[0]], cloth, 0.018)
        sketch.seam([(0.03, body.pit + 0.2), (0.03, body.bottom)], cloth, 0.02)
        for i in range(dice.whole(2, 4)):
            for x in (-0.1, 0.12) if dice.chance(0.5) else (0.09,):
                sketch.oval((x, body.pit + 0.28 + i * 0.2), 0.034, 0.034, shade(cloth.base, 0.45))
        return
    sketch.line(
        [(0.0, body.top + 0.06), (0.0, body.bottom)],
        STEEL if dice.chance(0.5) else shade(cloth.base, 0.4),
        0.03,
    )
    collar = rounded(
        [
            (-neck * 1.2, body.top - 0.12),
            (neck * 1.2, body.top - 0.12),
            (neck * 1.1, body.top + 0.12),
            (0.0, body.top + 0.18),
            (-neck * 1.1, body.top + 0.12),
        ],
        0.05,
    )
    sketch.poly(collar, cloth, tone=0.84)
    sketch.seam(collar, cloth)


def dress(dice: Dice) -> Sketch:
    """A bodice with straps or short sleeves, a waist and a skirt that widens."""
    patterns = ("plain",) * 4 + ("print",) * 4 + ("dots", "across", "check", "ombre", "down")
    cloth = fabric(dice, patterns)
    sketch = Sketch(cloth)
    body = Body(dice)
    body.shoulder *= 0.78
    body.chest = body.shoulder * 0.95
    waist_y, hem_y = dice.between(-0.3, -0.1), dice.between(0.55, 1.25)
    waist = body.chest * dice.between(0.72, 0.92)
    flare = dice.pick((dice.between(1.1, 1.5), dice.between(1.6, 2.6))) * waist
    straps = dice.chance(0.5)
    if not straps:
        sleeves(sketch, body, dice, cloth=cloth, length=dice.pick((0.26, 0.3, 0.36, 0.8)))
    top = body.top + (0.28 if straps else 0.0)
    if straps:
        wide = dice.between(0.03, 0.1)
        for side in (-1, 1):
            x = side * body.chest * 0.55
            sketch.line([(x, top + 0.05), (x * 0.9, body.top)], cloth, wide, tone=0.9)
    bodice: list[Point] = [
        (body.neck if not straps else body.chest * 0.6, top),
        (body.shoulder if not straps else body.chest * 0.8, top + 0.08),
        (body.chest, body.pit + 0.05),
        (waist, waist_y),
    ]
    sketch.poly(mirrored(bodice), cloth)
    skirt = [
        (waist, waist_y - 0.02),
        ((waist + flare) * 0.53, waist_y + (hem_y - waist_y) * 0.45),
        (flare, hem_y),
        (flare * 0.6, hem_y + 0.05),
        (flare * 0.2, hem_y + 0.02),
    ]
    sketch.poly(mirrored(skirt), cloth, tone=0.97)
    _skirt_folds(sketch, dice, cloth, (waist, waist_y), (flare, hem_y))
    if dice.chance(0.55):
        belt = (
            plain(contrasting(dice, cloth.base))
            if dice.chance(0.5)
            else plain(shade(cloth.base, 0.7))
        )
        sketch.poly(
            mirrored([(waist * 1.02, waist_y - 0.04), (waist * 1.02, waist_y + 0.04)]), belt
        )
    if straps:
        sketch.poly(
            [
                (-body.chest * 0.6, top),
                (0.0, top + dice.between(0.05, 0.2)),
                (body.chest * 0.6, top),
            ],
            shade(cloth.base, 0.6),
        )
    else:
        neckline(sketch, body, dice, cloth, shade(cloth.base, 0.8))
    return sketch


def _skirt_folds(sketch: Sketch, dice: Dice, cloth: Material, waist: Point, hem: Point) -> None:
    for _ in range(dice.whole(2, 8)):
        part = dice.between(-0.85, 0.85)
        start = dice.between(0.0, 0.5)
        x0 = part * (waist[0] + (hem[0] - waist[0]) * start)
        y0 = waist[1] + (hem[1] - waist[1]) * start
        sketch.seam([(x0, y0), (part * hem[0], hem[1])], cloth, dice.between(0.01, 0.03))
    if dice.chance(0.35):
        y = hem[1] - 0.13
        wide = hem[0] * 0.96
        sketch.seam([(-wide, y), (0.0, y + 0.03), (wide, y)], cloth, 0.025)
