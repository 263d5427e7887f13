"""Drawings of bags and guitars."""

from lalafo_assets.synthetic.drawing.materials import (
    BLACK,
    STEEL,
    WHITE,
    Material,
    colour,
    contrasting,
    fabric,
    hsv,
    plain,
    shade,
    surface,
)
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Sketch, arc, mirrored, rounded, soft

BAGS = ("leather",) * 4 + ("plain",) * 3 + ("print", "melange", "check", "camouflage", "denim")


def bag(dice: Dice) -> Sketch:
    cloth = fabric(dice, BAGS)
    sketch = Sketch(cloth)
    metal = dice.pick(((206, 170, 96), STEEL, BLACK))
    kind = dice.pick(("tote", "handbag", "handbag", "backpack"))
    if kind == "backpack":
        _backpack(sketch, dice, cloth)
        return sketch
    top, wide = dice.between(-0.35, -0.1), dice.between(0.68, 0.95)
    narrow = wide * dice.between(0.72, 1.05)
    rise = dice.between(0.45, 0.8) if kind == "tote" else dice.between(0.3, 0.6)
    handle = cloth if dice.chance(0.6) else plain(contrasting(dice, cloth.base))
    for scale, tone in ((0.92, 0.65), (1.0, 0.95)):
        sketch.line(
            arc((0.0, top + 0.06), narrow * 0.5, rise * scale, 180, 360, 22),
            handle,
            dice.between(0.045, 0.08),
            tone=tone,
        )
    body = mirrored([(narrow, top), (wide, 0.72), (wide * 0.9, 0.84)])
    sketch.poly(rounded(body, dice.between(0.03, 0.2)), cloth)
    if kind == "handbag":
        low = dice.between(0.1, 0.4)
        flap = [
            (-narrow, top - 0.02),
            (narrow, top - 0.02),
            (narrow * 0.98, low - 0.12),
            (0.0, low + 0.06),
            (-narrow * 0.98, low - 0.12),
        ]
        sketch.poly(rounded(flap, 0.14), cloth, tone=0.88)
        sketch.seam([*rounded(flap, 0.14)], cloth, 0.018)
        sketch.box((-0.07, low - 0.06), (0.07, low + 0.1), metal, radius=0.03)
    else:
        sketch.seam([(-narrow * 0.98, top + 0.07), (narrow * 0.98, top + 0.07)], cloth, 0.02)
        if dice.chance(0.5):
            sketch.box((-0.35, 0.15), (0.35, 0.6), cloth, radius=0.05, tone=0.86)
    for side in (-1, 1):
        sketch.ring((side * narrow * 0.5, top + 0.05), 0.045, 0.045, metal, 0.02)
    sketch.seam([(-wide * 0.92, 0.76), (wide * 0.92, 0.76)], cloth, 0.016)
    return sketch


def _backpack(sketch: Sketch, dice: Dice, cloth: Material) -> None:
    """A tall round-shouldered body with a front pocket, a grip and straps at the sides."""
    half = dice.between(0.55, 0.68)
    for side in (-1, 1):
        sketch.line(
            [(side * half * 0.5, -0.8), (side * (half + 0.14), -0.2), (side * (half + 0.08), 0.6)],
            cloth,
            0.12,
            tone=0.6,
        )
    sketch.line(arc((0.0, -0.86), 0.16, 0.17, 180, 360, 12), cloth, 0.06, tone=0.7)
    sketch.box((-half, -0.9), (half, 0.85), cloth, radius=0.3)
    zipper = shade(cloth.base, 0.45)
    sketch.line(
        [
            (-half * 0.9, -0.1),
            *arc((0.0, -0.2), half * 0.84, 0.52, 180, 360, 14),
            (half * 0.9, -0.1),
        ],
        zipper,
        0.025,
    )
    pocket = cloth if dice.chance(0.6) else plain(contrasting(dice, cloth.base))
    sketch.box((-half * 0.78, 0.1), (half * 0.78, 0.76), pocket, radius=0.12, tone=0.86)
    sketch.line([(-half * 0.7, 0.24), (half * 0.7, 0.24)], zipper, 0.025)
    sketch.box((-0.1, -0.4), (0.1, -0.3), contrasting(dice, cloth.base), radius=0.02)


def guitar(dice: Dice) -> Sketch:
    electric = dice.chance(0.35)
    base = (
        colour(dice)
        if electric
        else hsv(dice.around(0.08, 0.03), dice.between(0.4, 0.8), dice.between(0.35, 0.9))
    )
    wood = surface(dice, "plain" if electric else "wood", base)
    neck = surface(dice, "plain", (78, 50, 34) if dice.chance(0.7) else (190, 150, 100))
    sketch = Sketch(wood)
    if electric:
        body = soft(
            [
                (-0.1, -0.1),
                (-0.36, -0.3),
                (-0.42, 0.0),
                (-0.3, 0.22),
                (-0.42, 0.6),
                (-0.1, 0.86),
                (0.3, 0.78),
                (0.42, 0.5),
                (0.28, 0.2),
                (0.42, -0.12),
                (0.26, -0.26),
                (0.1, -0.02),
            ],
            2,
        )
    else:
        waist = dice.between(0.22, 0.3)
        body = soft(
            mirrored(
                [
                    (0.14, -0.2),
                    (0.36, -0.14),
                    (0.38, 0.08),
                    (waist, 0.26),
                    (0.46, 0.5),
                    (0.46, 0.78),
                    (0.2, 0.98),
                ]
            ),
            2,
        )
    sketch.line([*body, body[0]], shade(base, 0.45), 0.05)
    sketch.poly(body, wood)
    if electric:
        sketch.poly(
            soft([(-0.2, 0.1), (0.16, 0.05), (0.22, 0.5), (0.1, 0.7), (-0.18, 0.5)], 2),
            WHITE if dice.chance(0.6) else BLACK,
        )
        for y in (0.2, 0.42):
            sketch.box((-0.11, y), (0.11, y + 0.07), BLACK)
        for x, y in ((0.24, 0.6), (0.3, 0.48)):
            sketch.oval((x, y), 0.035, 0.035, STEEL)
    else:
        sketch.oval((0.0, 0.24), 0.155, 0.155, shade(base, 0.6))
        sketch.oval((0.0, 0.24), 0.125, 0.125, BLACK)
    sketch.box((-0.15, 0.66), (0.15, 0.71), (56, 38, 28))
    top = -1.15
    sketch.box((-0.06, top), (0.06, 0.16), neck)
    for i in range(12):
        y = 0.08 + (top - 0.08) * (1 - 0.92**i) * 1.45
        if y > top:
            sketch.line([(-0.06, y), (0.06, y)], STEEL, 0.011)
    sketch.poly(
        [
            (-0.06, top + 0.03),
            (-0.1, top - 0.06),
            (-0.09, top - 0.3),
            (0.09, top - 0.3),
            (0.1, top - 0.06),
            (0.06, top + 0.03),
        ],
        wood,
        tone=0.8,
    )
    for i in range(3):
        for side in (-1, 1):
            sketch.oval((side * 0.13, top - 0.08 - i * 0.08), 0.035, 0.024, STEEL)
    for i in range(6):
        x = -0.045 + i * 0.018
        sketch.line([(x, top), (x, 0.68)], (214, 210, 200), 0.006)
    return sketch
