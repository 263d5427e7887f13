"""The photos with masks that the network of `segments` learns from: drawn ones, and real ones.

Owns how real photos are read, divided into halves, pasted and augmented. The same seed and step
give the same batch. Does not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from lalafo_assets.synthetic.masked import MaskedPhoto, draw_masked
from ops.errors import ConfigurationError

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]

HALVES = 2
_LONGEST = 384  # pixels of a real photo in memory
_DRAWN = 288  # pixels of the longer side of a drawn photo
_SHORTEST = (0.56, 0.67, 0.75, 1.0)  # of drawn photos, as a share of the longer side
_LEAST_STRIP = 0.12  # of a photo's width: what is beside the product, at least, as a background


@dataclass(frozen=True, slots=True, eq=False)
class RealPhoto:
    """A photo with its mask, as in a folder: (H, W, 3) uint8 RGB, and (H, W) float32, 0 or 1."""

    name: str
    pixels: Pixels
    mask: Mask


def read_real(folder: Path, longest: int = _LONGEST) -> list[RealPhoto]:
    """The photos of `folder/photos` with those of `folder/masks`, sorted by name.

    Raises:
        ConfigurationError: there are none, or a mask has another size than its photo.
    """
    found = []
    for path in sorted((folder / "photos").glob("*.jpg")):
        with Image.open(path) as image, Image.open(folder / "masks" / f"{path.stem}.png") as drawn:
            photo, mask = image.convert("RGB"), drawn.convert("L")
        if photo.size != mask.size:
            raise ConfigurationError(
                f"{path}: the photo has {photo.size} pixels, its mask {mask.size}"
            )
        scale = min(1.0, longest / max(photo.size))
        size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
        pixels = np.asarray(photo.resize(size, Image.Resampling.BOX))
        inside = np.asarray(mask.resize(size, Image.Resampling.BOX), np.float32) / np.float32(255)
        found.append(RealPhoto(path.stem, pixels, inside))
    if not found:
        raise ConfigurationError(f"{folder} has no photos/*.jpg with masks/*.png of their names.")
    return found


def half(photos: Sequence[RealPhoto], which: int) -> list[RealPhoto]:
    """Every second photo, from `which` (0 or 1) on: neighbours, which may be of one day and
    place, are in both halves."""
    return [photo for index, photo in enumerate(photos) if index % HALVES == which]


def strips(photos: Sequence[RealPhoto]) -> list[Pixels]:
    """What is to the left and to the right of the products, as backgrounds for drawn goods."""
    found = []
    for photo in photos:
        columns = np.flatnonzero(photo.mask.max(0) > 0.5)
        if len(columns) == 0:
            continue
        least = round(_LEAST_STRIP * photo.mask.shape[1])
        for part in (photo.pixels[:, : columns[0]], photo.pixels[:, columns[-1] + 1 :]):
            if part.shape[1] >= least:
                found.append(np.concatenate([part, part[:, ::-1]], axis=1))
    return found


class Samples:
    """Batches of squashed photos with masks.

    Args:
        real: photos to learn from; none: all are drawn.
        share: of the photos of a batch that are real, where there are any.
    """

    def __init__(
        self, real: Sequence[RealPhoto], *, share: float, side: int, batch: int, seed: int
    ) -> None:
        self._real = list(real)
        self._backgrounds = strips(real)
        self._share = share if self._real else 0.0
        self._side, self._batch, self._seed = side, batch, seed

    def batch(self, step: int) -> tuple[Pixels, Mask]:
        """(B, S, S, 3) uint8 and (B, S, S) float32 in 0 to 1; the same for the same step."""
        rng = np.random.default_rng([self._seed, step])
        made = [self._augmented(self._sample(rng), rng) for _ in range(self._batch)]
        return np.stack([pixels for pixels, _ in made]), np.stack([mask for _, mask in made])

    def _sample(self, rng: np.random.Generator) -> tuple[Pixels, Mask]:
        if rng.random() >= self._share:
            return _drawn(rng, self._backgrounds)
        photo = self._real[rng.integers(len(self._real))]
        if rng.random() < 0.2:
            return _pasted(photo, rng)
        return photo.pixels, photo.mask

    def _augmented(
        self, sample: tuple[Pixels, Mask], rng: np.random.Generator
    ) -> tuple[Pixels, Mask]:
        pixels, mask = _cropped(*sample, self._side, rng)
        if rng.random() < 0.5:
            pixels, mask = pixels[:, ::-1], mask[:, ::-1]
        return _as_photographed(pixels, rng), np.ascontiguousarray(mask)


def _drawn(rng: np.random.Generator, backgrounds: Sequence[Pixels]) -> tuple[Pixels, Mask]:
    shape = (_DRAWN, round(_DRAWN * _SHORTEST[rng.integers(len(_SHORTEST))]))
    if rng.random() < 0.4:
        shape = shape[::-1]
    drawn: MaskedPhoto = draw_masked(int(rng.integers(2**62)), shape, backgrounds)
    return drawn.pixels, drawn.mask


def _pasted(photo: RealPhoto, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """The product on a drawn background."""
    from lalafo_assets.synthetic.drawing.rng import Dice
    from lalafo_assets.synthetic.drawing.scenery import scenery
    from lalafo_assets.synthetic.masked import SCENES

    scene = SCENES[rng.integers(len(SCENES))]
    ground = scenery(scene, photo.mask.shape, Dice(int(rng.integers(2**62)), scene))
    soft = cv2.GaussianBlur(photo.mask, (0, 0), rng.uniform(0.5, 1.2))[..., None]
    return (photo.pixels * soft + ground * (1 - soft)).clip(0, 255).astype(np.uint8), photo.mask


def _cropped(
    pixels: Pixels, mask: Mask, side: int, rng: np.random.Generator
) -> tuple[Pixels, Mask]:
    """A random part of the photo, squashed; at least a quarter of its area."""
    height, width = mask.shape
    high = max(1, round(height * rng.uniform(0.55, 1.0) if rng.random() < 0.7 else height))
    wide = max(1, round(width * rng.uniform(0.55, 1.0) if rng.random() < 0.7 else width))
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    at = (slice(top, top + high), slice(left, left + wide))
    squashed = (
        cv2.resize(it, (side, side), interpolation=cv2.INTER_AREA) for it in (pixels[at], mask[at])
    )
    return np.asarray(next(squashed), np.uint8), np.asarray(next(squashed), np.float32)


def _as_photographed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Another light, colour, focus and JPEG quality."""
    work = pixels.astype(np.float32)
    grey = work.mean(2, keepdims=True)
    work = grey + (work - grey) * (0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.4))
    middle = work.mean()
    work = (middle + (work - middle) * rng.uniform(0.65, 1.35)) * rng.uniform(0.7, 1.3)
    work *= rng.uniform(0.93, 1.07, 3).astype(np.float32)
    if rng.random() < 0.25:
        work = cv2.GaussianBlur(work, (0, 0), rng.uniform(0.4, 1.6))
    result = np.ascontiguousarray(work.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.4:
        data = simplejpeg.encode_jpeg(result, quality=int(rng.integers(30, 95)))
        return np.asarray(simplejpeg.decode_jpeg(data), np.uint8)
    return result
