"""Drawings of small household goods: book, cup, toy."""

from lalafo_assets.synthetic.drawing.materials import (
    BLACK,
    WHITE,
    Material,
    cloth_colour,
    colour,
    contrasting,
    fabric,
    hsv,
    shade,
    surface,
)
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import Point, Sketch, arc, moved, soft


def book(dice: Dice) -> Sketch:
    kind = dice.pick(("cover", "cover", "open", "stack"))
    cover = surface(dice, dice.pick(("plain", "plain", "leather", "plain")), cloth_colour(dice))
    sketch = Sketch(cover)
    if kind == "stack":
        y = 0.8
        for _ in range(dice.whole(3, 6)):
            tall, half = dice.between(0.16, 0.3), dice.between(0.7, 1.0)
            x, ink = dice.around(0.0, 0.12), cloth_colour(dice)
            sketch.box((x - half, y - tall), (x + half, y), ink, radius=0.03)
            sketch.box((x + half - 0.12, y - tall + 0.03), (x + half, y - 0.03), (232, 224, 204))
            sketch.line(
                [(x - half * 0.6, y - tall / 2), (x + half * dice.between(0.0, 0.5), y - tall / 2)],
                contrasting(dice, ink),
                tall * 0.3,
            )
            for side in (-0.85, 0.75):
                sketch.line(
                    [(x + half * side, y - tall), (x + half * side, y)], shade(ink, 0.6), 0.03
                )
            y -= tall
    elif kind == "open":
        for side in (-1, 1):
            sketch.poly(
                [(0.0, -0.6), (side * 1.02, -0.66), (side * 1.06, 0.66), (0.0, 0.72)], cover
            )
            sketch.poly(
                [
                    (0.0, -0.56),
                    (side * 0.5, -0.68),
                    (side * 0.97, -0.6),
                    (side, 0.58),
                    (side * 0.5, 0.56),
                    (0.0, 0.66),
                ],
                (238, 232, 216),
            )
            for i in range(12):
                y = -0.48 + i * 0.085
                end = dice.between(0.6, 0.9) if i % 4 == 3 else 0.9
                sketch.line(
                    [(side * 0.1, y + 0.02), (side * end, y - 0.02)], (130, 126, 120), 0.022
                )
        sketch.line([(0.0, -0.58), (0.0, 0.7)], (150, 144, 130), 0.035)
    else:
        _cover(sketch, dice, cover)
    return sketch


def _cover(sketch: Sketch, dice: Dice, cover: Material) -> None:
    """A closed book from above: pages at two edges, a title, a picture, an author."""
    half, depth = dice.between(0.62, 0.74), dice.between(0.05, 0.16)
    sketch.poly(
        [
            (-half + depth, -1.0 + depth),
            (half + depth, -1.0 + depth),
            (half + depth, 1.0 + depth),
            (-half + depth, 1.0 + depth),
        ],
        shade(cover.base, 0.5),
    )
    sketch.poly(
        [
            (half, -0.98),
            (half + depth * 0.85, -0.98 + depth),
            (half + depth * 0.85, 0.98 + depth),
            (-half + depth, 0.98 + depth),
            (-half, 0.98),
        ],
        (226, 216, 194),
    )
    for i in range(1, 4):
        part = depth * i / 4
        sketch.line(
            [(half + part, -0.96 + part), (half + part, 0.98 + part), (-half + part, 0.98 + part)],
            (170, 160, 140),
            0.008,
        )
    sketch.box((-half, -1.0), (half, 1.0), cover)
    sketch.box((-half, -1.0), (-half + 0.09, 1.0), cover, tone=0.75)
    ink = contrasting(dice, cover.base)
    for i in range(dice.whole(1, 3)):
        wide = half * dice.between(0.4, 0.75)
        sketch.line(
            [(0.05 - wide, -0.74 + i * 0.19), (0.05 + wide, -0.74 + i * 0.19)],
            ink,
            dice.between(0.07, 0.12),
        )
    if dice.chance(0.7):
        sketch.box((-half * 0.6, -0.15), (half * 0.75, 0.5), colour(dice))
        sketch.oval((0.1, 0.15), half * 0.4, 0.22, contrasting(dice, cover.base))
    sketch.line([(-0.2, 0.78), (0.3, 0.78)], ink, 0.06)


def cup(dice: Dice) -> Sketch:
    glaze = fabric(dice, ("plain",) * 6 + ("across", "dots", "print", "check", "ombre"))
    sketch = Sketch(glaze)
    wide, low = dice.between(0.55, 0.7), dice.between(0.4, 0.68)
    top, bottom = dice.between(-0.75, -0.45), 0.7
    rim = dice.between(0.1, 0.2)
    if dice.chance(0.3):
        low *= 0.6
        sketch.oval((0.0, bottom), 1.05, 0.22, glaze, tone=0.9)
        sketch.oval((0.0, bottom - 0.02), 0.7, 0.12, glaze, tone=0.75)
    size = (bottom - top) * dice.between(0.24, 0.32)
    centre = ((wide + low) / 2 + 0.03, (top + bottom) / 2 - 0.05)
    sketch.line(
        arc(centre, size * 0.95, size, -95, 105, 22), glaze, dice.between(0.09, 0.15), tone=0.88
    )
    curve = dice.between(0.0, 0.08)
    side: list[Point] = [
        (wide, top),
        ((wide + low) / 2 + curve, (top + bottom) / 2),
        (low, bottom - 0.1),
    ]
    sketch.poly(
        [
            *side,
            *arc((0.0, bottom - 0.1), low, 0.13, 0, 180, 14),
            *((-x, y) for x, y in reversed(side)),
        ],
        glaze,
    )
    sketch.oval((0.0, top), wide, rim, glaze, tone=1.1)
    sketch.oval((0.0, top + 0.01), wide * 0.9, rim * 0.82, shade(glaze.base, 0.55))
    if dice.chance(0.5):
        drink = dice.pick(((70, 42, 26), (150, 90, 40), (196, 160, 120)))
        sketch.oval((0.0, top + rim * 0.3), wide * 0.8, rim * 0.5, drink)
    if dice.chance(0.45):
        mark = contrasting(dice, glaze.base)
        heart = soft(
            [(0.0, 0.22), (-0.26, -0.04), (-0.14, -0.2), (0.0, -0.1), (0.14, -0.2), (0.26, -0.04)],
            1,
        )
        sketch.poly(moved(heart, -0.08, 0.05), mark)
    return sketch


def toy(dice: Dice) -> Sketch:
    """A sitting bear: round ears, muzzle, belly, paws."""
    base = hsv(dice.around(0.08, 0.04), dice.between(0.2, 0.7), dice.between(0.35, 0.9))
    fur = surface(
        dice, dice.pick(("melange", "plain")), base if dice.chance(0.75) else colour(dice)
    )
    pale = shade(fur.base, 1.3 if sum(fur.base) < 480 else 0.82)
    sketch = Sketch(fur)
    head, belly = dice.between(0.4, 0.5), dice.between(0.4, 0.5)
    for side in (-1, 1):
        sketch.oval((side * head * 0.78, -0.92), 0.17, 0.17, fur, tone=0.9)
        sketch.oval((side * head * 0.78, -0.91), 0.1, 0.1, pale)
    arm = dice.between(-0.1, 0.15)
    for side in (-1, 1):
        sketch.line(
            [(side * belly * 0.7, 0.0), (side * (belly + 0.2), 0.2 + arm)], fur, 0.26, tone=0.9
        )
    sketch.oval((0.0, 0.25), belly, 0.5, fur)
    sketch.oval((0.0, 0.3), belly * 0.62, 0.33, pale)
    for side in (-1, 1):
        sketch.oval((side * 0.46, 0.66), 0.27, 0.24, fur, tone=0.95)
        sketch.oval((side * 0.5, 0.68), 0.16, 0.15, pale)
    sketch.oval((0.0, -0.55), head, head * 0.92, fur)
    sketch.oval((0.0, -0.42), head * 0.46, head * 0.36, pale)
    sketch.oval((0.0, -0.5), 0.075, 0.055, BLACK)
    sketch.line(arc((0.0, -0.42), 0.09, 0.08, 20, 160, 8), BLACK, 0.02)
    for side in (-1, 1):
        sketch.oval((side * head * 0.4, -0.66), 0.05, 0.055, BLACK)
        sketch.oval((side * head * 0.4 + 0.015, -0.675), 0.015, 0.015, WHITE)
    if dice.chance(0.5):
        ribbon = cloth_colour(dice)
        for side in (-1, 1):
            sketch.poly([(0.0, -0.14), (side * 0.24, -0.25), (side * 0.24, -0.02)], ribbon)
        sketch.oval((0.0, -0.14), 0.06, 0.06, shade(ribbon, 0.8))
    return sketch
