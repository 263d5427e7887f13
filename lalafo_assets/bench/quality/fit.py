"""Fits the constants of the task `quality`: the small networks of `ops/photos/quality/scores.py`.

`python -m lalafo_assets.bench.quality.fit FOLDER…` reads the half of the photos that is for
fitting, degrades them, and writes `constants.json`. A folder with `photos/` and `masks/` (files of
the same names, 255 inside the product) gives photos on white and on black grounds, and with a
blurred background besides: none of them is too dark, too bright or blurred. No photo is stored. The
same photos give the same constants.
"""

import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import ops.photos.quality.scores as scores
from lalafo_assets.bench.photos.files import is_for_fitting
from lalafo_assets.bench.quality.degrade import blur_background, cut_out, jpeg
from lalafo_assets.bench.quality.series import (
    JPEG_QUALITY,
    SERIES,
    Series,
    degraded,
    drawn_photos,
    read_photos,
)
from ops.photos.pixels import Pixels
from ops.photos.quality.exposure import exposure_features
from ops.photos.quality.graphics import graphics_features
from ops.photos.quality.sharpness import sharpness_features

SEED = 20261128
PER_FOLDER = 20
UNITS = 12
PENALTY = 3.0
STEPS = 400
FALSE_FLAGS = 0.01  # share of the good photos for fitting that may be flagged
LEAST_THRESHOLD = 0.35  # of the severity, in [0, 1]
STEEPNESS = 8.0
TINY_PX = 240.0
SEVERITY = {
    "dark": 0.7,
    "bright": 0.7,
    "blurred": 0.8,
    "tiny": 0.8,
    "graphics": 0.6,
    "border": 0.3,
    "collage": 0.4,
}
OUTPUT = Path(scores.__file__).with_name("constants.json")

EXPOSED = ("dark", "bright")
_GREYS = (0, 8, 16, 239, 247, 255)

Example = tuple[Pixels, float, bool]
"""A photo, how severe its defect is in [0, 1], and whether it is a good photo."""


def severity(series: Series, amount: float) -> float:
    """The amount as a share of the series' range: in stops and shares as it is, and in octaves
    where it is a factor or a length."""
    first, last = series.amounts[0], series.amounts[-1]
    if series.unit in ("stops", "share"):
        return (amount - first) / (last - first)
    if series.unit == "sigma, px":
        return math.log2(1 + amount) / math.log2(1 + last)
    return math.log2(amount / first) / math.log2(last / first)


def features_of(defect: str, photo: Pixels) -> NDArray[np.float64] | None:
    """The features that the defect's head reads."""
    luma = np.asarray(Image.fromarray(photo).convert("L"))
    if defect in EXPOSED:
        return exposure_features(photo, luma)
    if defect == "blurred":
        return sharpness_features(luma)
    return graphics_features(luma)


def examples(defect: str, photos: list[Pixels], good: list[Pixels]) -> Iterator[Example]:
    """Photos of each series for a defect; good ones that look like it; photos of one grey value."""
    rng = np.random.default_rng(SEED)
    for series in SERIES:
        if series.defect == defect:
            # Exposure is measured at a size at which JPEG does not show.
            as_jpeg = defect not in EXPOSED
            for _, amount, photo in degraded(series, photos, rng, as_jpeg=as_jpeg):
                yield photo, severity(series, amount), amount == series.amounts[0]
    for photo in good:
        yield photo, 0.0, True
    if defect in EXPOSED:
        for grey in _GREYS:
            worst = (grey < 128) == (defect == "dark")
            for height, width in ((300, 400), (400, 300), (64, 64)):
                yield np.full((height, width, 3), grey, np.uint8), float(worst), False


def fit(defect: str, some: Iterator[Example]) -> dict[str, Any]:
    """Fit the severity by least squares with a penalty on the weights, by L-BFGS. The threshold is
    the severity at which no more than FALSE_FLAGS of the good photos are flagged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    rows, targets, good = [], [], []
    for photo, target, is_good in some:
        features = features_of(defect, photo)
        if features is not None:
            rows.append(features)
            targets.append(target)
            good.append(is_good)
    values, wanted = np.array(rows), np.array(targets)
    mean, scale = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    standard = scores.standardized(values, mean, scale)
    network = MLPRegressor(
        hidden_layer_sizes=(UNITS,),
        activation="tanh",
        solver="lbfgs",
        alpha=PENALTY,
        max_iter=STEPS,
        random_state=SEED,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of steps is fixed
        found = network.fit(standard, wanted).predict(standard)
    threshold = max(LEAST_THRESHOLD, float(np.quantile(found[np.array(good)], 1 - FALSE_FLAGS)))
    return {
        "mean": _numbers(mean),
        "scale": _numbers(scale),
        "hidden": _numbers(network.coefs_[0]),
        "hidden_bias": _numbers(network.intercepts_[0]),
        "weights": _numbers(network.coefs_[1][:, 0]),
        "bias": round(float(network.intercepts_[1][0]) - threshold, 6),
        "steepness": STEEPNESS,
    }


def _numbers(values: NDArray[np.float64]) -> list[Any]:
    found: list[Any] = np.round(values, 6).tolist()
    return found


def masked(
    folder: Path, count: int, *, for_fitting: bool
) -> Iterator[tuple[Pixels, NDArray[np.uint8]]]:
    """Photos of one half with the masks of their products; none where the folder has no masks."""
    for path in sorted((folder / "masks").glob("*.png"))[: 2 * count]:
        photo = folder / "photos" / f"{path.stem}.jpg"
        if photo.is_file() and is_for_fitting(photo.read_bytes()) == for_fitting:
            with Image.open(photo) as image, Image.open(path) as mask:
                pixels = np.asarray(image.convert("RGB"))
                yield pixels, np.asarray(mask.convert("L").resize(image.size))


HARD: dict[str, Callable[[Pixels, NDArray[np.uint8]], Pixels]] = {
    "on_white": lambda photo, mask: cut_out(photo, mask, 255),
    "on_black": lambda photo, mask: cut_out(photo, mask, 0),
    "shallow_focus": lambda photo, mask: blur_background(photo, mask, 5),
}
"""Good photos that look like bad ones."""


def main(folders: list[Path]) -> None:
    """Write the constants."""
    photos = drawn_photos(SEED, PER_FOLDER // 2)
    good = []
    for folder in folders:
        photos += read_photos(folder, PER_FOLDER, for_fitting=True)
        for photo, mask in masked(folder, PER_FOLDER, for_fitting=True):
            good += [jpeg(make(photo, mask), JPEG_QUALITY) for make in HARD.values()]
    heads = {name: fit(name, examples(name, photos, good)) for name in scores.HEADS}
    constants = {"heads": heads, "tiny_px": TINY_PX, "severity": SEVERITY}
    OUTPUT.write_text(json.dumps(constants) + "\n", "utf-8")


if __name__ == "__main__":
    main([Path(it) for it in sys.argv[1:]])
