"""The categories of goods: one drawing each, and the scenes in which they are photographed."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.scenery import FLAT, INDOORS, OUTDOORS, TABLE
from lalafo_assets.synthetic.drawing.sketch import Sketch
from lalafo_assets.synthetic.goods import (
    bags_and_guitars,
    footwear,
    furniture,
    gadgets,
    household,
    jackets_and_dresses,
    legwear,
    screens,
    tops,
    vehicles,
)


@dataclass(frozen=True, slots=True)
class Good:
    """One category of goods: its drawing, and how such goods are photographed."""

    draw: Callable[[Dice], Sketch]
    scenes: tuple[str, ...]
    tilt_degrees: float  # the spread of the rotation
    folds: float = 0.0  # how much the good creases
    relief: float = 0.35  # how round the good looks


def _worn(draw: Callable[[Dice], Sketch]) -> Good:
    return Good(draw, FLAT, 16.0, folds=0.16, relief=0.3)


GOODS = MappingProxyType(
    {
        "bag": Good(bags_and_guitars.bag, (*TABLE, "fur"), 8.0, folds=0.07, relief=0.45),
        "bicycle": Good(vehicles.bicycle, (*OUTDOORS, "room", "planks_room"), 5.0, relief=0.15),
        "book": Good(household.book, TABLE, 18.0, relief=0.2),
        "camera": Good(gadgets.camera, TABLE, 8.0),
        "car": Good(vehicles.car, OUTDOORS, 3.0, relief=0.3),
        "chair": Good(furniture.chair, INDOORS, 4.0, relief=0.25),
        "cup": Good(household.cup, TABLE, 6.0, relief=0.6),
        "dress": _worn(jackets_and_dresses.dress),
        "fridge": Good(furniture.fridge, INDOORS, 3.0, relief=0.25),
        "guitar": Good(bags_and_guitars.guitar, (*FLAT, "room", "planks_room"), 30.0),
        "hat": Good(footwear.hat, FLAT, 14.0, folds=0.1, relief=0.5),
        "headphones": Good(gadgets.headphones, TABLE, 16.0),
        "jacket": _worn(jackets_and_dresses.jacket),
        "lamp": Good(furniture.lamp, INDOORS, 4.0, relief=0.4),
        "laptop": Good(screens.laptop, TABLE, 7.0, relief=0.2),
        "phone": Good(screens.phone, TABLE, 22.0, relief=0.2),
        "shirt": _worn(tops.shirt),
        "shoes": Good(footwear.shoes, FLAT, 12.0, folds=0.05, relief=0.45),
        "shorts": _worn(legwear.shorts),
        "skirt": _worn(legwear.skirt),
        "sofa": Good(furniture.sofa, INDOORS, 3.0, folds=0.06, relief=0.35),
        "stroller": Good(vehicles.stroller, (*OUTDOORS, "room"), 4.0, relief=0.3),
        "sweater": _worn(tops.sweater),
        "t-shirt": _worn(tops.t_shirt),
        "table": Good(furniture.table, INDOORS, 3.0, relief=0.2),
        "television": Good(screens.television, INDOORS, 4.0, relief=0.2),
        "toy": Good(household.toy, (*TABLE, "room"), 8.0, folds=0.05, relief=0.5),
        "trousers": _worn(legwear.trousers),
        "watch": Good(gadgets.watch, TABLE, 25.0, relief=0.3),
    }
)
"""Every category, in alphabetical order."""
