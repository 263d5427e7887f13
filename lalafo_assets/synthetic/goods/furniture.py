"""Drawings of furniture: sofa, chair, table, lamp, fridge."""

from lalafo_assets.synthetic.drawing.materials import (
    BLACK,
    STEEL,
    WHITE,
    Material,
    cloth_colour,
    fabric,
    plain,
    shade,
    surface,
)
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Point, Sketch, arc, mirrored, rounded, soft

UPHOLSTERY = ("plain",) * 5 + ("melange", "melange", "leather", "leather", "print", "check", "down")


def _frame(dice: Dice) -> Material:
    """The material of legs: mostly wood, else metal or paint."""
    if dice.chance(0.65):
        return surface(dice, "wood")
    return plain(dice.pick((BLACK, WHITE, STEEL, cloth_colour(dice))))


def sofa(dice: Dice) -> Sketch:
    cloth = fabric(dice, UPHOLSTERY)
    sketch = Sketch(cloth)
    seats = dice.whole(1, 3)
    half = (0.55, 0.85, 1.0)[seats - 1]
    top = dice.between(-0.62, -0.42)
    arm, seat = dice.between(0.14, 0.24), dice.between(-0.02, 0.08)
    legs = _frame(dice)
    for side in (-1, 1):
        sketch.line([(side * (half - 0.08), 0.36), (side * (half - 0.05), 0.54)], legs, 0.06)
    inner = half - arm
    curve = dice.between(0.04, 0.16)
    sketch.box((-half + arm * 0.4, top), (half - arm * 0.4, 0.3), cloth, radius=curve, tone=0.86)
    wide = 2 * inner / seats
    for i in range(seats):
        left = -inner + wide * i
        sketch.box(
            (left + 0.01, top + 0.06), (left + wide - 0.01, seat + 0.06), cloth, radius=curve
        )
        if dice.chance(0.3):
            sketch.oval(
                (left + wide / 2, (top + seat) / 2 + 0.03), 0.025, 0.025, shade(cloth.base, 0.5)
            )
    sketch.box((-inner, seat + 0.12), (inner, 0.38), cloth, tone=0.75)
    for i in range(seats):
        left = -inner + wide * i
        sketch.box(
            (left + 0.008, seat), (left + wide - 0.008, seat + 0.17), cloth, radius=0.05, tone=1.08
        )
    rise = dice.between(0.16, 0.3)
    for side in (-1, 1):
        x0, x1 = sorted((side * inner, side * (half + 0.04)))
        sketch.box((x0, seat - rise), (x1, 0.4), cloth, radius=arm * 0.45, tone=0.94)
        sketch.seam(
            rounded(
                [
                    (x0 + 0.02, seat - rise + 0.03),
                    (x1 - 0.02, seat - rise + 0.03),
                    (x1 - 0.02, 0.38),
                    (x0 + 0.02, 0.38),
                ],
                arm * 0.4,
            ),
            cloth,
        )
    for _ in range(dice.whole(0, 2)):
        x = dice.between(-inner + 0.15, inner - 0.15)
        pillow = soft(
            [
                (x - 0.16, seat - 0.25),
                (x + 0.16, seat - 0.28),
                (x + 0.18, seat + 0.05),
                (x - 0.17, seat + 0.04),
            ],
            2,
        )
        sketch.poly(pillow, fabric(dice))
    return sketch


def chair(dice: Dice) -> Sketch:
    if dice.chance(0.25):
        return _office_chair(dice)
    wood = _frame(dice)
    sketch = Sketch(wood)
    back_top = dice.between(-1.05, -0.8)
    near, far, skew = dice.between(0.42, 0.5), dice.between(0.32, 0.4), dice.around(0.0, 0.16)
    thick = dice.between(0.05, 0.08)
    back: list[Point] = [(-far + skew, -0.08), (far + skew, -0.08)]
    front: list[Point] = [(-near, 0.12), (near, 0.12)]
    for x, y in back:
        sketch.line([(x, y), (x, 0.72)], wood, thick * 0.9, tone=0.7)
        sketch.line([(x, y), (x * 1.02, back_top)], wood, thick, tone=0.9)
    left, right = back[0][0], back[1][0]
    style = dice.pick(("slats", "bars", "panel", "padded"))
    if style == "slats":
        for i in range(3):
            y = back_top + 0.08 + i * (abs(back_top) - 0.15) / 3
            sketch.box((left, y), (right, y + 0.11), wood, radius=0.02)
    elif style == "bars":
        sketch.box((left, back_top), (right, back_top + 0.12), wood, radius=0.03)
        for i in range(1, 5):
            x = left + (right - left) * i / 5
            sketch.line([(x, back_top + 0.1), (x, -0.08)], wood, 0.03)
    else:
        pad = fabric(dice, UPHOLSTERY) if style == "padded" else wood
        bottom = -0.28 if dice.chance(0.6) else -0.08
        sketch.box(
            (left - 0.02, back_top - 0.02),
            (right + 0.02, bottom),
            pad,
            radius=dice.between(0.04, 0.2),
        )
    seat = [back[0], back[1], front[1], front[0]]
    cushion = fabric(dice, UPHOLSTERY) if style == "padded" or dice.chance(0.3) else wood
    sketch.poly(rounded(seat, 0.05), cushion, tone=1.05)
    sketch.poly([front[0], front[1], (near, 0.2), (-near, 0.2)], cushion, tone=0.75)
    for x, y in front:
        x *= 0.95
        sketch.line([(x, y + 0.06), (x * dice.between(0.97, 1.06), 1.0)], wood, thick)
    if dice.chance(0.5):
        sketch.line([(-near * 0.95, 0.62), (near * 0.95, 0.62)], wood, thick * 0.6, tone=0.85)
    return sketch


def _office_chair(dice: Dice) -> Sketch:
    """A padded seat on a column with castors."""
    pad = fabric(dice, ("plain", "melange", "leather"))
    sketch = Sketch(pad)
    sketch.line([(0.0, 0.1), (0.0, 0.75)], STEEL, 0.08)
    for turn in (12, 60, 120, 168):
        tip = arc((0.0, 0.72), 0.58, 0.24, turn, turn, 1)[0]
        sketch.line([(0.0, 0.7), tip], BLACK, 0.06)
        sketch.oval((tip[0], tip[1] + 0.06), 0.06, 0.06, BLACK)
    half = dice.between(0.36, 0.46)
    sketch.box((-half, dice.between(-1.1, -0.8)), (half, -0.05), pad, radius=0.16)
    for side in (-1, 1):
        sketch.line(
            [
                (side * (half + 0.06), 0.1),
                (side * (half + 0.12), -0.16),
                (side * (half - 0.04), -0.2),
            ],
            BLACK,
            0.06,
        )
    sketch.box((-half - 0.06, 0.0), (half + 0.06, 0.2), pad, radius=0.09, tone=0.88)
    return sketch


def table(dice: Dice) -> Sketch:
    if dice.chance(0.3):
        return _round_table(dice)
    wood = _frame(dice)
    sketch = Sketch(wood)
    near, far, skew = 1.0, dice.between(0.7, 0.9), dice.around(0.0, 0.15)
    top, edge = dice.between(-0.5, -0.3), dice.between(-0.12, -0.02)
    thick, leg = dice.between(0.05, 0.1), dice.between(0.06, 0.12)
    floor = dice.between(0.5, 0.85)
    for x in (-far + skew + 0.08, far + skew - 0.08):
        sketch.line([(x, edge), (x, floor - 0.2)], wood, leg * 0.8, tone=0.6)
    for x in (-near + 0.08, near - 0.08):
        sketch.line([(x, edge + thick), (x, floor)], wood, leg, tone=0.85)
    if dice.chance(0.5):
        sketch.box((-near + 0.1, edge + thick), (near - 0.1, edge + thick + 0.14), wood, tone=0.72)
        if dice.chance(0.6):
            for x in (-0.45, 0.45):
                sketch.oval((x, edge + thick + 0.07), 0.03, 0.03, BLACK)
    if dice.chance(0.2):
        sketch.box((0.4, edge + thick), (near - 0.1, floor), wood, tone=0.8)
        for i in range(3):
            y = edge + thick + (floor - edge - thick) * (i + 0.5) / 3
            sketch.line([(0.58, y), (0.74, y)], BLACK, 0.03)
            sketch.seam([(0.4, y + 0.1), (near - 0.1, y + 0.1)], wood, 0.02)
    sketch.poly(
        [(-far + skew, top), (far + skew, top), (near, edge), (-near, edge)], wood, tone=1.1
    )
    sketch.poly(
        [(-near, edge), (near, edge), (near, edge + thick), (-near, edge + thick)], wood, tone=0.8
    )
    return sketch


def _round_table(dice: Dice) -> Sketch:
    wood = _frame(dice)
    sketch = Sketch(wood)
    flat = dice.between(0.2, 0.36)
    floor = dice.between(0.5, 0.85)
    if dice.chance(0.5):
        sketch.line([(0.0, -0.2), (0.0, floor - 0.1)], wood, 0.14, tone=0.8)
        for x in (-0.5, 0.0, 0.5):
            sketch.line(
                [(0.0, floor - 0.16), (x, floor + (0.06 if x == 0 else 0.0))], wood, 0.08, tone=0.7
            )
    else:
        for x, y in ((-0.62, floor), (0.62, floor), (-0.38, floor - 0.22), (0.38, floor - 0.22)):
            sketch.line([(x * 0.9, -0.1), (x, y)], wood, 0.075, tone=0.75)
    sketch.poly(arc((0.0, -0.2), 1.0, flat, 0, 360, 40), wood, tone=0.75)
    sketch.poly(arc((0.0, -0.27), 1.0, flat, 0, 360, 40), wood, tone=1.1)
    return sketch


def lamp(dice: Dice) -> Sketch:
    cloth = fabric(dice, ("plain", "plain", "plain", "melange", "print", "down", "dots"))
    sketch = Sketch(cloth)
    metal = dice.pick((BLACK, STEEL, (190, 150, 80), WHITE, cloth_colour(dice)))
    glow = (255, 240, 190)
    if dice.chance(0.35):
        elbow = (dice.between(-0.5, -0.25), dice.between(-0.2, 0.05))
        head = (dice.between(0.2, 0.4), dice.between(-0.85, -0.65))
        sketch.oval((0.0, 0.92), 0.4, 0.11, metal)
        sketch.line([(0.0, 0.88), elbow, head], metal, 0.055)
        sketch.oval(elbow, 0.05, 0.05, shade(metal, 0.6))
        x, y = head
        sketch.oval((x + 0.26, y + 0.36), 0.24, 0.12, glow)
        sketch.poly(
            [(x - 0.08, y), (x + 0.1, y - 0.1), (x + 0.52, y + 0.24), (x + 0.02, y + 0.5)],
            metal,
            tone=0.9,
        )
        return sketch
    floor = dice.chance(0.4)
    upper, lower = dice.between(0.16, 0.36), dice.between(0.42, 0.6)
    base = 2.0 if floor else 0.95
    if floor:
        sketch.line([(0.0, 0.0), (0.0, base)], metal, 0.05)
        sketch.oval((0.0, base), 0.36, 0.09, metal)
    else:
        profile = dice.pick(
            (
                [(0.05, 0.0), (0.3, 0.3), (0.34, 0.6), (0.12, 0.86), (0.3, base)],
                [(0.05, 0.0), (0.07, 0.8), (0.34, 0.9), (0.36, base)],
                [(0.04, 0.0), (0.16, 0.2), (0.06, 0.45), (0.22, 0.7), (0.3, base)],
            )
        )
        sketch.poly(mirrored(profile), surface(dice, dice.pick(("plain", "wood", "metal")), metal))
    lit = dice.chance(0.4)
    shade_cloth = Material(cloth.pattern, glow, (250, 214, 140), cloth.scale, cloth.seed)
    top = -0.85
    sketch.poly(mirrored([(upper, top), (lower, 0.0)]), shade_cloth if lit else cloth)
    sketch.poly(arc((0.0, 0.0), lower, 0.06, 0, 180, 12), cloth, tone=0.7)
    sketch.line([(-upper, top), (upper, top)], cloth, 0.03, tone=0.7)
    return sketch


def fridge(dice: Dice) -> Sketch:
    """A tall box with two doors, seen slightly from the side."""
    skin = surface(
        dice,
        dice.pick(("plain", "plain", "metal")),
        dice.pick((WHITE, WHITE, STEEL, (60, 62, 66), cloth_colour(dice))),
    )
    sketch = Sketch(skin)
    half, depth = dice.between(0.4, 0.52), dice.between(0.08, 0.26)
    split = dice.pick((dice.between(-0.55, -0.3), dice.between(0.2, 0.4)))
    sketch.poly(
        [(half, -1.0), (half + depth, -0.93), (half + depth, 0.93), (half, 1.0)], skin, tone=0.62
    )
    for x in (-half + 0.08, half - 0.08):
        sketch.box((x - 0.05, 0.98), (x + 0.05, 1.05), BLACK)
    sketch.box((-half, -1.0), (half, 1.0), skin, radius=0.03)
    sketch.line([(-half, split), (half, split)], BLACK, 0.022)
    handle = dice.pick((BLACK, STEEL, shade(skin.base, 0.6)))
    for y0, y1 in ((max(split - 0.4, -0.92), split - 0.07), (split + 0.07, split + 0.45)):
        sketch.line([(-half + 0.09, y0), (-half + 0.09, y1)], handle, 0.05)
    if dice.chance(0.35):
        sketch.box((0.02, split + 0.15), (0.26, split + 0.4), (50, 54, 60), radius=0.02)
    for _ in range(dice.whole(0, 4) if dice.chance(0.4) else 0):
        x, y = dice.between(-0.2, 0.3), dice.between(-0.9, 0.6)
        sketch.box((x, y), (x + 0.09, y + 0.08), cloth_colour(dice))
    sketch.box((half - 0.16, -0.94), (half - 0.05, -0.91), shade(skin.base, 0.6))
    return sketch
