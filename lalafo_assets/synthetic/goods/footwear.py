"""Drawings of shoes and hats."""

from lalafo_assets.synthetic.drawing.materials import (
    BLACK,
    STEEL,
    WHITE,
    Material,
    cloth_colour,
    contrasting,
    fabric,
    plain,
    shade,
    surface,
)
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Sketch, arc, moved, placed, rounded, soft


def shoes(dice: Dice) -> Sketch:
    kind = dice.pick(("sneaker", "sneaker", "heel", "boot", "above", "above"))
    skin = surface(dice, dice.pick(("leather", "plain", "melange")), cloth_colour(dice))
    one = {"sneaker": _sneaker, "heel": _heel, "boot": _boot, "above": _from_above}[kind](
        dice, skin
    )
    pair = Sketch(skin)
    if kind == "above":
        gap, lift = dice.between(0.46, 0.56), dice.around(0.0, 0.12)
        pair.shapes += placed(one, scale=1.0, dx=-gap / 2, dy=lift, degrees=dice.around(0, 10))
        other = placed(one, scale=1.0, dx=-gap / 2, dy=-lift, degrees=dice.around(0, 10))
        for shape in other:
            shape.points[:, 0] *= -1
        pair.shapes += other
        return pair
    if dice.chance(0.75):
        pair.shapes += placed(
            one,
            scale=0.95,
            dx=dice.between(0.15, 0.45),
            dy=-dice.between(0.2, 0.42),
            degrees=dice.around(0, 9),
        )
    pair.shapes += placed(one, scale=1.0, dx=0.0, dy=0.0, degrees=dice.around(0, 5))
    return pair


def _sneaker(dice: Dice, skin: Material) -> Sketch:
    sketch = Sketch(skin)
    sole = WHITE if dice.chance(0.6) else contrasting(dice, skin.base)
    ankle = dice.between(-0.42, -0.28) - (0.25 if dice.chance(0.25) else 0.0)
    upper = soft(
        [
            (-0.9, 0.2),
            (-0.92, ankle + 0.05),
            (-0.8, ankle - 0.02),
            (-0.35, ankle),
            (-0.05, -0.2),
            (0.5, -0.02),
            (0.92, 0.08),
            (0.98, 0.22),
        ],
        2,
    )
    sketch.poly(upper, skin)
    sketch.poly(rounded([(-0.94, 0.17), (1.0, 0.17), (0.98, 0.34), (-0.9, 0.36)], 0.08), sole)
    sketch.line([(-0.9, 0.3), (0.95, 0.29)], shade(sole, 0.7), 0.025, casts=False)
    sketch.oval((-0.57, ankle + 0.06), 0.24, 0.07, shade(skin.base, 0.4))
    for i in range(dice.whole(3, 5)):
        x, y = -0.28 + i * 0.13, ankle + 0.12 + i * 0.05
        sketch.line([(x - 0.04, y + 0.07), (x + 0.1, y - 0.05)], WHITE, 0.035, casts=False)
    mark = contrasting(dice, skin.base)
    if dice.chance(0.6):
        for i in range(dice.whole(1, 3)):
            x = -0.5 + i * 0.17
            sketch.line([(x, 0.14), (x + 0.2, -0.12)], mark, 0.06, casts=False)
    sketch.seam(arc((0.95, 0.24), 0.42, 0.34, 180, 258, 8), skin, 0.02)
    return sketch


def _heel(dice: Dice, skin: Material) -> Sketch:
    sketch = Sketch(skin)
    rise = dice.between(0.35, 0.75)
    width = dice.between(0.02, 0.12)
    top = 0.36 - rise
    sketch.poly(
        [(-0.88, top - 0.05), (-0.6, top + 0.1), (-0.72 + width, 0.38), (-0.8, 0.38)],
        shade(skin.base, 0.8),
    )
    inside = [
        (-0.88, top - 0.3),
        (-0.5, top - 0.1),
        (0.2, 0.08),
        (0.56, 0.08),
        (0.3, 0.2),
        (-0.3, top + 0.1),
    ]
    sketch.poly(soft(inside, 2), (206, 178, 140))
    upper = [
        (-0.93, top - 0.34),
        (-0.95, top - 0.1),
        (-0.82, top + 0.06),
        (-0.45, top + 0.14),
        (0.1, 0.32),
        (0.6, 0.37),
        (1.08, 0.36),
        (0.98, 0.24),
        (0.66, 0.1),
        (0.42, 0.02),
        (0.36, 0.14),
        (0.12, 0.2),
        (-0.2, top + 0.12),
        (-0.55, top - 0.02),
        (-0.78, top - 0.2),
    ]
    sketch.poly(soft(upper, 1), skin)
    sketch.line(
        [(-0.84, top + 0.06), (-0.45, top + 0.16), (0.1, 0.34), (0.6, 0.39), (1.02, 0.38)],
        shade(skin.base, 0.4),
        0.03,
    )
    if dice.chance(0.4):
        sketch.line(arc((-0.7, top - 0.4), 0.24, 0.07, 0, 370, 14), skin, 0.04)
    return sketch


def _boot(dice: Dice, skin: Material) -> Sketch:
    sketch = Sketch(skin)
    top = dice.between(-1.2, -0.5)
    sketch.poly(
        soft(
            [
                (-0.72, 0.3),
                (-0.7, top),
                (-0.1, top),
                (-0.08, -0.2),
                (0.45, -0.02),
                (0.86, 0.14),
                (0.88, 0.3),
            ],
            2,
        ),
        skin,
    )
    sketch.box((-0.72, 0.24), (0.9, 0.34), shade(skin.base, 0.4), radius=0.04)
    sketch.box((-0.72, 0.3), (-0.3, 0.46), shade(skin.base, 0.35))
    sketch.line([(-0.62, top + 0.07), (-0.16, top + 0.07)], skin, 0.05, tone=0.7)
    if dice.chance(0.5):
        for i in range(5):
            y = -0.28 + (top + 0.45) * i / 5
            sketch.line([(-0.2, y), (0.0, y - 0.06)], WHITE, 0.03, casts=False)
    return sketch


def _from_above(dice: Dice, skin: Material) -> Sketch:
    """One shoe seen from above, with the toe at the top."""
    sketch = Sketch(skin)
    wide = dice.between(0.19, 0.24)
    outline = soft(
        [
            (-wide * 0.7, -0.95),
            (wide * 0.6, -1.0),
            (wide * 1.15, -0.5),
            (wide * 0.85, 0.1),
            (wide * 0.9, 0.7),
            (0.0, 0.82),
            (-wide * 0.9, 0.7),
            (-wide * 0.9, 0.1),
            (-wide * 1.05, -0.5),
        ],
        2,
    )
    sole = WHITE if dice.chance(0.4) else shade(skin.base, 0.5)
    sketch.line([*outline, outline[0]], sole, 0.06)
    sketch.poly(outline, skin)
    opening = dice.pick((0.0, -0.45))
    sketch.poly(
        soft(
            [
                (-wide * 0.6, opening),
                (wide * 0.6, opening),
                (wide * 0.66, 0.62),
                (0.0, 0.74),
                (-wide * 0.66, 0.62),
            ],
            2,
        ),
        (198, 170, 130) if dice.chance(0.4) else shade(skin.base, 0.35),
    )
    for i in range(4 if opening == 0.0 else 0):
        y = -0.42 + i * 0.12
        sketch.line(
            [(-wide * 0.5, y), (wide * 0.5, y + dice.around(0, 0.05))],
            WHITE if dice.chance(0.5) else BLACK,
            0.035,
            casts=False,
        )
    if opening < 0 and dice.chance(0.4):
        sketch.oval((0.0, -0.55), 0.07, 0.05, STEEL)
    return sketch


def hat(dice: Dice) -> Sketch:
    cloth = fabric(dice)
    sketch = Sketch(cloth)
    kind = dice.pick(("cap", "cap", "beanie", "brim", "brim"))
    trim = plain(contrasting(dice, cloth.base)) if dice.chance(0.5) else cloth
    if kind == "cap":
        tall = dice.between(0.7, 0.95)
        visor = [(0.25, 0.02), (0.7, -0.12), (1.15, 0.14), (1.2, 0.28), (0.8, 0.22), (0.2, 0.26)]
        sketch.poly(
            soft([(-0.75, 0.2), *arc((0.0, 0.1), 0.75, tall, 180, 360, 14), (0.74, 0.2)], 1), cloth
        )
        sketch.poly(soft(visor, 2), trim, tone=0.88)
        sketch.seam(arc((0.0, 0.15), 0.28, tall, 180, 270, 10), cloth, 0.02)
        sketch.seam(arc((0.0, 0.15), 0.35, tall, 270, 355, 10), cloth, 0.02)
        sketch.oval((0.0, 0.1 - tall), 0.06, 0.04, trim)
        mark = contrasting(dice, cloth.base)
        if dice.chance(0.6):
            sketch.poly(
                moved(soft([(-0.1, -0.2), (0.2, -0.15), (0.16, 0.1), (-0.1, 0.06)]), 0.25, -0.25),
                mark,
            )
    elif kind == "beanie":
        sketch.poly(
            [
                (-0.7, 0.35),
                *arc((0.0, 0.0), 0.7, dice.between(0.75, 1.0), 180, 360, 16),
                (0.7, 0.35),
            ],
            cloth,
        )
        band = dice.between(0.22, 0.36)
        sketch.box((-0.74, 0.45 - band), (0.74, 0.48), trim, radius=0.06, tone=0.88)
        for i in range(11):
            sketch.seam([(-0.66 + i * 0.132, 0.47 - band), (-0.66 + i * 0.132, 0.46)], trim, 0.018)
        if dice.chance(0.55):
            sketch.oval((0.0, -0.9), 0.24, 0.22, surface(dice, "melange", trim.base))
    else:
        crown = dice.between(0.5, 0.62)
        rim = dice.between(0.18, 0.32)
        sketch.oval((0.0, 0.3), 1.05, rim, cloth, tone=0.85)
        sketch.poly(
            [
                (-crown, 0.3),
                (-crown * 0.85, -0.45),
                *soft([(-crown * 0.8, -0.45), (0.0, -0.7), (crown * 0.8, -0.45)], 0),
                (crown * 0.85, -0.45),
                (crown, 0.3),
            ],
            cloth,
        )
        sketch.oval((0.0, 0.3), crown, rim * 0.4, cloth)
        sketch.box((-crown * 1.0, 0.08), (crown * 1.0, 0.28), trim, tone=0.75, radius=0.04)
    return sketch
