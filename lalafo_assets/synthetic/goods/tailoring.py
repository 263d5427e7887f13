"""Parts that tops share: measures, sleeves, necklines and prints on the chest.

Owns how the parts of one garment fit each other. Does not depend on the garment.
"""

import math

from lalafo_assets.synthetic.drawing.materials import (
    BLACK,
    STEEL,
    WHITE,
    Colour,
    Material,
    cloth_colour,
    contrasting,
    shade,
)
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.sketch import (
    Point,
    Sketch,
    arc,
    mirrored,
    reflected,
    soft,
    turned,
)


class Body:
    """The measures of one top, so that its parts fit each other."""

    def __init__(self, dice: Dice, *, length: tuple[float, float] = (0.45, 0.85)) -> None:
        self.shoulder = dice.between(0.46, 0.62)
        self.neck = self.shoulder * dice.between(0.3, 0.5)
        self.chest = self.shoulder * dice.between(0.84, 0.98)
        self.waist = self.chest * dice.between(0.84, 1.04)
        self.hem = self.waist * dice.between(0.96, 1.16)
        self.top = -0.92
        self.drop = dice.between(0.07, 0.16)  # from the neck to the shoulder's end
        self.pit = dice.between(-0.5, -0.38)  # height of the armpit
        self.bottom = dice.between(*length)

    def torso(self, *, flare: float = 1.0, sag: float = 0.03) -> list[Point]:
        """The outline without sleeves."""
        return mirrored(
            [
                (self.neck, self.top),
                (self.shoulder * 0.98, self.top + self.drop),
                (self.shoulder * 0.93, self.top + self.drop + 0.18),
                (self.chest, self.pit),
                (self.waist, self.pit + (self.bottom - self.pit) * 0.45),
                (self.hem * flare, self.bottom - 0.03),
                (self.hem * flare * 0.5, self.bottom + sag),
            ]
        )


def sleeves(
    sketch: Sketch, body: Body, dice: Dice, *, length: float, cloth: Material, wide: float = 1.0
) -> None:
    """Draw both sleeves; call it before the torso is drawn. Long sleeves may bend."""
    long = length > 0.6
    down = math.radians(dice.between(48, 86) if long else dice.between(25, 70))
    across, along = (-math.sin(down), math.cos(down)), (math.cos(down), math.sin(down))
    root: Point = (body.shoulder * 0.97, body.top + body.drop)
    pit: Point = (body.chest * 0.97, body.pit)
    width = math.dist(root, pit)
    cuff = width * (dice.between(0.45, 0.62) if long else dice.between(0.72, 0.92)) * wide
    outer = (root[0] + along[0] * length, root[1] + along[1] * length)
    inner = (outer[0] + across[0] * cuff, outer[1] + across[1] * cuff)
    elbow = between_points(root, outer, 0.5)
    elbow = (elbow[0] - across[0] * 0.04 * wide, elbow[1] - across[1] * 0.04 * wide)
    bend = dice.between(-4, 18) if long else 0.0
    outer, inner = turned([outer, inner], bend, elbow)
    fold = between_points(pit, inner, 0.5)
    arm: list[Point] = [root, elbow, outer, inner, fold, pit, (pit[0] * 0.8, pit[1])]
    arm.append((root[0] * 0.8, root[1]))
    tone = dice.between(0.86, 0.97)
    for points in (arm, reflected(arm)):
        sketch.poly(points, cloth, tone=tone)
        if dice.chance(0.6):
            inset = 0.16 if not long else 0.12
            edge = [
                between_points(points[2], points[1], inset),
                between_points(points[3], points[4], inset),
            ]
            sketch.seam(edge, cloth)


def armholes(sketch: Sketch, body: Body, cloth: Material) -> None:
    """Draw the seams between sleeves and torso; call it after the torso is drawn."""
    seam: list[Point] = [
        (body.shoulder * 0.97, body.top + body.drop),
        (body.shoulder * 0.9, (body.top + body.pit) / 2 + 0.05),
        (body.chest * 0.98, body.pit),
    ]
    for points in (seam, reflected(seam)):
        sketch.seam(points, cloth, 0.016)


def hanger(sketch: Sketch, body: Body, dice: Dice) -> None:
    """Draw a clothes hanger in one of five cases; call it before the garment is drawn."""
    if not dice.chance(0.2):
        return
    ink = dice.pick((BLACK, STEEL, (150, 104, 62), WHITE))
    end = (body.shoulder * 0.85, body.top + body.drop)
    sketch.line([(-end[0], end[1]), (0.0, body.top - 0.06), end], ink, 0.05)
    sketch.line(
        [(0.0, body.top - 0.05), *arc((0.04, body.top - 0.2), 0.07, 0.07, 150, 380, 10)],
        STEEL,
        0.025,
    )


def between_points(a: Point, b: Point, part: float) -> Point:
    return a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part


def neckline(sketch: Sketch, body: Body, dice: Dice, cloth: Material, trim: Colour) -> None:
    """Draw the neckline: the inside of the back, and a rib along a round or pointed front."""
    depth = dice.between(0.1, 0.26)
    inside = shade(cloth.base, 0.55)
    if dice.chance(0.65):
        front = arc((0.0, body.top), body.neck, depth, 0, 180, 14)
    else:
        front = [(body.neck, body.top), (0.0, body.top + depth * 1.4), (-body.neck, body.top)]
    back = arc((0.0, body.top), body.neck, depth * 0.3, 180, 360, 8)
    sketch.poly([*front, *back], inside)
    sketch.line(front, trim, dice.between(0.025, 0.05))
    sketch.line(back, shade(trim, 0.85), 0.03)
    if dice.chance(0.4):
        sketch.box((-0.05, body.top + 0.01), (0.05, body.top + 0.055), WHITE)


def artwork(sketch: Sketch, dice: Dice, cloth: Material, centre: Point, size: float) -> None:
    """Draw a print on the chest: lettering, a badge, a landscape or a small mark."""
    ink = contrasting(dice, cloth.base)
    x, y = centre
    kind = dice.pick(("letters", "letters", "badge", "scene", "small"))
    if kind == "letters":
        for row in range(dice.whole(1, 3)):
            top, left = y + row * size * 0.34, x - size * dice.between(0.6, 1.0)
            while left < x + size * 0.8:
                wide = size * dice.between(0.1, 0.2)
                sketch.box((left, top), (left + wide, top + size * 0.24), ink)
                left += wide + size * 0.06
    elif kind == "badge":
        sketch.oval(centre, size * 0.8, size * 0.8, ink)
        sketch.oval(centre, size * 0.66, size * 0.66, cloth_colour(dice))
        sketch.poly(
            soft(
                [
                    (x, y - size * 0.5),
                    (x + size * 0.5, y),
                    (x, y + size * 0.4),
                    (x - size * 0.4, y + size * 0.1),
                ]
            ),
            ink,
        )
    elif kind == "scene":
        sketch.box((x - size, y - size * 0.8), (x + size, y + size * 0.8), ink, radius=0.03)
        sketch.oval((x + size * 0.4, y - size * 0.3), size * 0.2, size * 0.2, cloth_colour(dice))
        peak = [
            (x - size, y + size * 0.8),
            (x - size * 0.3, y - size * 0.4),
            (x + size * 0.4, y + size * 0.8),
        ]
        sketch.poly(peak, cloth_colour(dice))
    else:
        sketch.box((x + size * 0.5, y - size * 0.5), (x + size * 0.9, y - size * 0.3), ink)
