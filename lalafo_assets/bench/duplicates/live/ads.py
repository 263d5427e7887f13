"""The ads of `lalafo bench duplicates --live`: which photos they have, and which are copies."""

import hashlib
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from lalafo_assets.bench.duplicates.alterations import ALTERATIONS, altered
from lalafo_assets.bench.harness.ads import photo_counts
from lalafo_assets.bench.photos.files import photo_files, pixels_of
from lalafo_assets.synthetic.photos import generate
from ops.photos.pixels import Pixels

PHOTOS_PER_AD = 2.5
SELLERS = 300
COPIED = 10  # one of so many ads has an altered photo of another one's, as at OLX
QUALITY = 88
ONE_PHOTO = 1  # of the ads that are there before


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo as a JPEG, as its rendition is stored."""

    data: bytes
    sha256: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Ad:
    """An ad to commit. `altered_by`: how its first photo was made of one of the ad `original`."""

    number: int
    photos: tuple[Photo, ...]
    seller: str
    original: int | None = None
    altered_by: str = ""

    @property
    def ad_id(self) -> str:
        return f"{self.number:06d}"


def planned_ads(folders: Sequence[Path], *, before: int, live: int, seed: int) -> Iterator[Ad]:
    """The ads that are there before, with a photo each, then those that come.

    Photos are those of the folders, each once, then drawn ones.
    """
    rng, dice = np.random.default_rng(seed), random.Random(seed)  # noqa: S311 - a sample
    counts = [ONE_PHOTO] * before + photo_counts(live, PHOTOS_PER_AD, seed=seed)
    sources = _pixels(folders, sum(counts), dice)
    known: list[tuple[int, Pixels]] = []
    names = list(ALTERATIONS)
    for number, count in enumerate(counts):
        own = [next(sources) for _ in range(count)]
        original, by = None, ""
        if number >= before and number % COPIED == 0:
            original, pixels = known[dice.randrange(len(known))]
            by = names[number // COPIED % len(names)]
            own[0] = altered(by, pixels, own[0], rng)
        else:
            known.append((number, own[0]))
        seller = f"s-{dice.randrange(SELLERS)}"
        yield Ad(number, tuple(_photo(it) for it in own), seller, original, by)


def _pixels(folders: Sequence[Path], count: int, dice: random.Random) -> Iterator[Pixels]:
    paths = [path for folder in folders for path in photo_files(folder)]
    dice.shuffle(paths)
    real = (pixels_of(path.read_bytes()) for path in paths)
    yield from chain(real, (pixels_of(it.data) for it in generate(count, seed=9)))


def _photo(pixels: Pixels) -> Photo:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=QUALITY)
    data = out.getvalue()
    height, width = pixels.shape[:2]
    return Photo(data, hashlib.sha256(data).digest(), width, height)
