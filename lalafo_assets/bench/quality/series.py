"""The series of degradations that the scores are fitted and judged on, and the photos for them.

Half of all photos are for fitting and the other half for judging, by their SHA-256, so that no
photo is in both.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lalafo_assets.bench.photos.files import is_for_fitting, photo_files, pixels_of
from lalafo_assets.bench.quality import degrade, screens
from lalafo_assets.synthetic.photos import generate
from ops.errors import ConfigurationError
from ops.photos.pixels import Pixels

Degrade = Callable[[Sequence[Pixels], int, float, np.random.Generator], Pixels]
"""Degrades the photo at an index by an amount; a collage takes the ones behind it too."""

JPEG_QUALITY = 85
DRAWN = 120


@dataclass(frozen=True, slots=True)
class Series:
    """`defect`: the score that should follow the amounts. `unit`: of the amounts. The first amount
    leaves a photo as it is."""

    name: str
    defect: str
    unit: str
    amounts: tuple[float, ...]
    degrade: Degrade


SERIES = (
    Series(
        "exposure_down",
        "dark",
        "stops",
        (0, 1, 2, 3, 4),
        lambda p, i, a, _: degrade.expose(p[i], -a),
    ),
    Series(
        "gamma_down",
        "dark",
        "exponent",
        (1, 1.5, 2.2, 3.3, 5, 7),
        lambda p, i, a, _: degrade.gamma(p[i], a),
    ),
    Series(
        "exposure_up",
        "bright",
        "stops",
        (0, 1, 2, 3, 4),
        lambda p, i, a, _: degrade.expose(p[i], a),
    ),
    Series(
        "gamma_up",
        "bright",
        "1 / exponent",
        (1, 1.5, 2.2, 3.3, 5, 7),
        lambda p, i, a, _: degrade.gamma(p[i], 1 / a),
    ),
    Series(
        "gaussian_blur",
        "blurred",
        "sigma, px",
        (0, 1, 2, 3, 4, 6),
        lambda p, i, a, _: degrade.gaussian_blur(p[i], a),
    ),
    Series(
        "motion_blur",
        "blurred",
        "length, px",
        (1, 4, 8, 12, 18, 26),
        lambda p, i, a, _: degrade.motion_blur(p[i], a, i),
    ),
    Series(
        "enlarged",
        "blurred",
        "factor",
        (1, 2, 3, 4, 6, 8),
        lambda p, i, a, _: degrade.enlarge_again(p[i], a),
    ),
    Series(
        "shrunk",
        "tiny",
        "factor",
        (1, 1.5, 2.2, 3.3, 5, 8),
        lambda p, i, a, _: degrade.shrink(p[i], a),
    ),
    Series(
        "text_card",
        "graphics",
        "share",
        (0, 0.2, 0.4, 0.6, 0.8, 1),
        lambda p, i, a, rng: screens.text_card(p[i], a, rng),
    ),
    Series(
        "screenshot",
        "graphics",
        "share",
        (0, 0.2, 0.4, 0.6, 0.8, 1),
        lambda p, i, a, rng: screens.screenshot(p[i], a, rng),
    ),
    Series(
        "border",
        "border",
        "share",
        (0, 0.05, 0.1, 0.2, 0.3, 0.5),
        lambda p, i, a, rng: degrade.add_border(p[i], a, rng),
    ),
    Series(
        "collage",
        "collage",
        "photos",
        (1, 2, 3, 4, 6, 9),
        lambda p, i, a, rng: degrade.collage([p[(i + k) % len(p)] for k in range(int(a))], rng),
    ),
)


def degraded(
    series: Series, photos: Sequence[Pixels], rng: np.random.Generator, *, as_jpeg: bool = True
) -> Iterator[tuple[int, float, Pixels]]:
    """Yield the index of each photo, each amount, and the photo degraded by it, through JPEG."""
    for index in range(len(photos)):
        for amount in series.amounts:
            pixels = series.degrade(photos, index, amount, rng)
            yield index, amount, degrade.jpeg(pixels, JPEG_QUALITY) if as_jpeg else pixels


def drawn_photos(seed: int, count: int = DRAWN) -> list[Pixels]:
    """Drawn photos, where no real ones are given."""
    return [pixels_of(photo.data) for photo in generate(count, seed)]


def read_photos(folder: Path, count: int, *, for_fitting: bool, seed: int = 1) -> list[Pixels]:
    """Up to `count` photos below a folder, from the half for fitting or that for judging.

    Raises:
        ConfigurationError: there is none.
    """
    paths = photo_files(folder)
    random.Random(seed).shuffle(paths)  # noqa: S311 - a sample
    found: list[Pixels] = []
    for path in paths:
        data = path.read_bytes()
        if is_for_fitting(data) == for_fitting:
            found.append(pixels_of(data))
        if len(found) == count:
            break
    if not found:
        raise ConfigurationError(f"{folder} contains no photo for this half (.jpg, .png)")
    return found
