"""The starter's training data: drawn pictures as arrays, with their labels and attributes.

Owns the preparation of pictures for training. Does not import torch, so that the processes that
draw start quickly.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Self

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from lalafo_assets.synthetic.drawing.materials import PATTERNS
from lalafo_assets.synthetic.drawing.rng import Dice
from lalafo_assets.synthetic.drawing.scenery import FLAT, INDOORS, OUTDOORS, TABLE
from lalafo_assets.synthetic.photos import CATEGORIES, pixels, plan

SCENES = tuple(sorted({*FLAT, *INDOORS, *TABLE, *OUTDOORS, "planks_room"}))
_CHUNK = 128
_DRAWN_SIDE = 288


@dataclass(frozen=True, slots=True, eq=False)
class Drawings:
    """N pictures and their attributes.

    `images` is (N, side, side, 3) uint8 RGB, squashed. Each picture has the indices of its
    category, pattern and scene, (N,) int64, and the good's colour, (N, 3) float32 in 0 to 1.
    """

    images: NDArray[np.uint8]
    categories: NDArray[np.int64]
    patterns: NDArray[np.int64]
    scenes: NDArray[np.int64]
    colours: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def save(self, folder: Path) -> None:
        """Write each array to the file <field>.npy."""
        for item in fields(self):
            np.save(folder / f"{item.name}.npy", getattr(self, item.name))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Memory-map the arrays of `save`; processes that load the same folder share the memory."""
        return cls(
            **{f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(cls)}
        )


def draw(count: int, *, seed: int, side: int, workers: int) -> Drawings:
    """Draw `count` pictures, balanced over the categories.

    The same arguments give the same arrays.
    """
    plans = plan(count, seed)
    chunks = [plans[i : i + _CHUNK] for i in range(0, count, _CHUNK)]
    images = np.empty((count, side, side, 3), np.uint8)
    facts: list[tuple[int, int, int, tuple[int, int, int]]] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for drawn, known in pool.map(_draw_chunk, chunks, [side] * len(chunks)):
            images[len(facts) : len(facts) + len(drawn)] = drawn
            facts += known
    return Drawings(
        images=images,
        categories=np.array([f[0] for f in facts], np.int64),
        patterns=np.array([f[1] for f in facts], np.int64),
        scenes=np.array([f[2] for f in facts], np.int64),
        colours=np.array([f[3] for f in facts], np.float32).reshape(-1, 3) / 255.0,
    )


def _draw_chunk(
    plans: list[tuple[str, int]], side: int
) -> tuple[NDArray[np.uint8], list[tuple[int, int, int, tuple[int, int, int]]]]:
    images = np.empty((len(plans), side, side, 3), np.uint8)
    facts = []
    for i, (category, seed) in enumerate(plans):
        picture, known = pixels(category, seed, _DRAWN_SIDE)
        dice = Dice(seed, "training")
        if dice.chance(0.6):  # with JPEG artefacts
            data = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), dice.whole(30, 90))
            picture = simplejpeg.decode_jpeg(data)
        squashed = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
        images[i] = np.asarray(squashed)
        facts.append(
            (
                CATEGORIES.index(category),
                PATTERNS.index(known.pattern),
                SCENES.index(known.scene),
                known.colour,
            )
        )
    return images, facts


def batches(
    drawings: Drawings,
    *,
    samples: int,
    size: int,
    batch: int,
    least_area: float,
    rng: np.random.Generator,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield batches of augmented pictures (B, size, size, 3) uint8 and their rows (B,) int64.

    Every picture is used once before any is used again; the last batch is complete.
    """
    order = np.empty(0, np.int64)
    for _ in range(-(-samples // batch)):
        while len(order) < batch:
            order = np.concatenate([order, rng.permutation(len(drawings))])
        rows, order = order[:batch], order[batch:]
        crops = [_cropped(drawings.images[row], size, least_area, rng) for row in rows]
        yield np.stack(crops), rows


def _cropped(
    image: NDArray[np.uint8], size: int, least_area: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a random crop, squashed, and possibly mirrored, rotated or partly covered."""
    side = image.shape[0]
    area, ratio = rng.uniform(least_area, 1.0), np.exp(rng.uniform(-0.25, 0.25))
    wide = min(1.0, np.sqrt(area * ratio)) * side
    high = min(1.0, np.sqrt(area / ratio)) * side
    left, top = rng.uniform(0, side - wide), rng.uniform(0, side - high)
    part = Image.fromarray(image).resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + wide, top + high)
    )
    result: NDArray[np.uint8] = np.array(part)
    if rng.random() < 0.5:
        result = result[:, ::-1]
    if rng.random() < 0.12:
        result = np.rot90(result, k=rng.choice((1, 3)))
    if rng.random() < 0.2:
        y, x = rng.integers(0, size, 2)
        reach = int(size * rng.uniform(0.1, 0.25))
        result[y : y + reach, x : x + reach] = rng.integers(0, 256, 3)
    return result
