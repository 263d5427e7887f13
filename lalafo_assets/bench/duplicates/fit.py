"""Fits the network of `ops/duplicates/photos/photo_scores.py` on pairs of photos made here.

`python -m lalafo_assets.bench.duplicates.fit FOLDER…` reads the half of the photos that is for
fitting, besides drawn ones, and writes `constants.json`. Three kinds of pairs: a photo and an
altered copy; a photo and one that stands for another photo of the same thing, on another ground
where the folder has `photos/` and `masks/` of the same names; and photos that are alike. Photos of
one folder two levels down (CLASS/PRODUCT) may show the same product: where their features agree
too, they are a pair of the second kind, else they are left out. No photo is stored. The same photos
give the same constants.
"""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from math import log1p
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lalafo_assets.bench.duplicates.pairs import (
    Compared,
    Prepared,
    compared_copies,
    compared_originals,
    prepare,
)
from lalafo_assets.bench.duplicates.prints import prints
from lalafo_assets.bench.duplicates.rephotographed import rephotographed
from lalafo_assets.bench.duplicates.samples import Sample, drawn_samples, read_samples
from ops.duplicates.photos.photo_pairs import FEATURES, photo_pair
from ops.duplicates.photos.photo_scores import (
    CLASSES,
    CONSTANTS,
    probabilities,
    softmax,
    standardized,
)

SEED = 20261129
PER_FOLDER = 60
UNITS = 8
PENALTY = 3.0
STEPS = 600
FOLDS = 3  # of the photos: thresholds and the temperature are found on pairs not fitted on
PRECISION = (0.95, 0.999)  # of SAME_THING and of ALTERED on those pairs
INLIERS = 12  # features from which two photos of one product show the same thing
LEAST = 0.5  # of a threshold
DIFFERENT, THING, SAME = range(len(CLASSES))

Rows = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]
"""Measures (N, F), classes (N,), and the photo that a pair's fold is of (N,)."""


def gathered(samples: Sequence[Sample], masks: dict[int, NDArray[np.uint8]]) -> Rows:
    """The measures of all pairs of these photos."""
    prepared = prepare(samples, seed=SEED)
    rows: list[NDArray[np.float64]] = []
    classes: list[int] = []
    photos: list[int] = []
    for it in (*compared_originals(prepared), *compared_copies(prepared, seed=SEED)):
        which = SAME if it.same else _class_of_two(prepared, it)
        if which is not None:
            rows.append(it.features)
            classes.append(which)
            photos.append(it.index)
    for index, features in _things(prepared, masks):
        rows.append(features)
        classes.append(THING)
        photos.append(index)
    return np.array(rows), np.array(classes), np.array(photos)


def _class_of_two(prepared: Prepared, it: Compared) -> int | None:
    """The class of two photos; None where it is not known."""
    one, other = (prepared.samples[at] for at in (it.index, it.other))
    one_product = one.name.count("/") > 1 and not set(one.groups).isdisjoint(other.groups)
    if not one_product:
        return DIFFERENT
    return THING if it.features[FEATURES.index("inliers")] >= log1p(INLIERS) else None


def _things(
    prepared: Prepared, masks: dict[int, NDArray[np.uint8]]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Two other photos of each thing, where there is a mask in front of another photo."""
    for times in range(2):
        made = []
        for index, sample in enumerate(prepared.samples):
            rng = np.random.default_rng((SEED, times, index))
            behind = prepared.samples[int(rng.integers(len(prepared.samples)))].pixels
            mask = masks.get(index)
            made.append(rephotographed(sample.pixels, rng, mask=mask, behind=behind))
        for index, mine in enumerate(prints(made)):
            yield index, photo_pair(prepared.prints[index], mine).features


def fit(rows: Rows) -> dict[str, Any]:
    """The constants: a network on all pairs, with and without their embeddings; its temperature
    and thresholds on folds, with embeddings."""
    features, classes, photos = rows
    outputs = np.zeros((len(features), len(CLASSES)))
    for fold in range(FOLDS):
        held = photos % FOLDS == fold
        network = _network(*_also_without_embeddings(features[~held], classes[~held]))
        outputs[held] = np.log(np.maximum(probabilities(features[held], network), 1e-300))
    constants = _network(*_also_without_embeddings(features, classes))
    temperature = _temperature(outputs, classes)
    found = softmax(outputs / temperature)
    related = found[:, THING] + found[:, SAME]
    return {
        **constants,
        "temperature": round(temperature, 3),
        "same_thing": _threshold(related, classes != DIFFERENT, PRECISION[0]),
        "same_photo": _threshold(found[:, SAME], classes == SAME, PRECISION[1]),
    }


def _also_without_embeddings(
    features: NDArray[np.float64], classes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    without = features.copy()
    without[:, FEATURES.index("cosine")] = 0.0
    without[:, FEATURES.index("no_embedding")] = 1.0
    return np.concatenate([features, without]), np.concatenate([classes, classes])


def _network(features: NDArray[np.float64], classes: NDArray[np.int64]) -> dict[str, Any]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
    constants: dict[str, Any] = {"mean": _numbers(mean), "scale": _numbers(scale)}
    counts = np.bincount(classes, minlength=len(CLASSES))
    network = MLPClassifier(
        hidden_layer_sizes=(UNITS,),
        activation="tanh",
        solver="lbfgs",
        alpha=PENALTY,
        max_iter=STEPS,
        random_state=SEED,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of steps is fixed
        weights = len(classes) / (len(CLASSES) * counts[classes])
        network.fit(standardized(features, constants), classes, sample_weight=weights)
    return {
        **constants,
        "hidden": _numbers(network.coefs_[0]),
        "hidden_bias": _numbers(network.intercepts_[0]),
        "weights": _numbers(network.coefs_[1]),
        "bias": _numbers(network.intercepts_[1]),
        "temperature": 1.0,
    }


def _temperature(outputs: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """The temperature with the least mean negative logarithm, each kind counting alike."""
    counts = np.bincount(classes, minlength=len(CLASSES))
    weights = 1 / counts[classes]
    options = np.geomspace(0.5, 5, 60)
    losses = [
        float(-(weights * np.log(softmax(outputs / it)[np.arange(len(classes)), classes])).sum())
        for it in options
    ]
    return float(options[int(np.argmin(losses))])


def _threshold(found: NDArray[np.float64], right: NDArray[np.bool_], precision: float) -> float:
    """The lowest probability from which this share of the pairs is right, at least LEAST."""
    order = np.argsort(-found, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(shares >= precision)
    lowest = float(found[order][enough[-1]]) if len(enough) else 1.0
    return round(max(LEAST, lowest), 3)


def _numbers(values: NDArray[np.float64]) -> list[Any]:
    found: list[Any] = np.round(values, 5).tolist()
    return found


def masks_of(samples: Sequence[Sample]) -> dict[int, NDArray[np.uint8]]:
    """The masks of the photos that have one, by index, in the size of the sample."""
    found = {}
    for index, sample in enumerate(samples):
        if sample.path is not None:
            path = sample.path.parent.parent / "masks" / f"{sample.path.stem}.png"
            if path.is_file():
                with Image.open(path) as mask:
                    height, width = sample.pixels.shape[:2]
                    found[index] = np.asarray(mask.convert("L").resize((width, height)))
    return found


def main(folders: Sequence[Path]) -> None:
    """Write the constants."""
    samples = drawn_samples(PER_FOLDER // 3, seed=SEED)
    for folder in folders:
        samples += read_samples(folder, PER_FOLDER, for_fitting=True)
    rows = gathered(samples, masks_of(samples))
    CONSTANTS.write_text(json.dumps(fit(rows)) + "\n", "utf-8")
    counts = dict(zip(CLASSES, np.bincount(rows[1]).tolist(), strict=True))
    sys.stdout.write(f"{len(samples)} photos, pairs {counts}, {len(FEATURES)} measures\n")


if __name__ == "__main__":
    main([Path(it) for it in sys.argv[1:]])
