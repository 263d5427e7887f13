"""Finds the goods in a photo: a mask as large as the photo, and the separate things in it.

Owns what becomes of a network's probabilities. Does not depend on tasks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ops.masks.arrays import Mask, Thing, separate_things
from ops.models.segments.network import LoadedNetwork, Pixels


@dataclass(frozen=True, slots=True, eq=False)
class LabelledThing:
    """A thing, the mean probability of its pixels, and what it is."""

    thing: Thing
    score: float
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class Goods:
    """The goods in a photo of (H, W) pixels.

    `probability`: (H, W) float32 in [0, 1]. `mask`: (H, W). `score`: the mean probability inside
    the mask; of the whole photo where the mask is empty. `things`: the largest first.
    """

    probability: NDArray[np.float32]
    mask: Mask
    score: float
    things: list[LabelledThing]


def find_goods(photo: Pixels, loaded: LoadedNetwork) -> Goods:
    """The goods in a photo; an empty mask where there are none.

    Raises:
        ValueError: the network's answer is not finite, or no probability.
    """
    import cv2

    height, width = photo.shape[:2]
    network = loaded.network
    classes = loaded.probabilities(photo)
    whole = classes[0] if len(classes) == 1 else 1 - classes[0]
    probability = cv2.resize(whole, (width, height), interpolation=cv2.INTER_LINEAR)
    least = max(1, round(network.least_area * height * width))
    things, mask = separate_things(probability >= network.threshold, least)
    chosen = probability[mask] if things else probability
    return Goods(
        probability,
        mask,
        float(chosen.mean()),
        [_labelled(thing, probability, classes, network.labels) for thing in things],
    )


def _labelled(
    thing: Thing,
    probability: NDArray[np.float32],
    classes: NDArray[np.float32],
    labels: tuple[str, ...],
) -> LabelledThing:
    left, top, width, height = thing.box
    inside = probability[top : top + height, left : left + width][thing.inside]
    if len(labels) == 1:
        return LabelledThing(thing, float(inside.mean()), labels[0])
    rows, columns = probability.shape
    high, wide = classes.shape[1:]
    ys, xs = np.nonzero(thing.inside)
    found = classes[1:, (ys + top) * high // rows, (xs + left) * wide // columns].mean(1)
    return LabelledThing(thing, float(inside.mean()), labels[int(found.argmax())])
