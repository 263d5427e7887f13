"""Runs `lalafo bench duplicates`: which altered photos are found again, and at what precision.

Every method judges the same pairs: photos and altered copies of them, and pairs of different photos
that are alike. The product uses the thresholds that it ships with. PDQ, pHash and embeddings alone
get the threshold that finds most at a precision of PRECISION on these very pairs, which is more
than they would have in use.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lalafo_assets.bench.duplicates.alterations import ALTERATIONS
from lalafo_assets.bench.duplicates.pairs import (
    Compared,
    Prepared,
    compared_copies,
    compared_originals,
    prepare,
)
from lalafo_assets.bench.duplicates.samples import Sample, drawn_samples, read_samples
from ops.duplicates.look_up import FURTHEST
from ops.duplicates.photos import binary_features
from ops.duplicates.photos.binary_features import ENOUGH
from ops.duplicates.photos.local_features import local_features
from ops.duplicates.photos.photo_pairs import FEATURES, photo_pair
from ops.duplicates.photos.photo_print import PhotoPrint, photo_print
from ops.duplicates.photos.photo_scores import installed_constants, probabilities
from ops.errors import ConfigurationError
from ops.types import ProgressCallback

SEED = 7
PRECISION = 0.999
TIMED = 60  # photos, and pairs
NAMED = 20  # false pairs that the output names
BINS = (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)


def run_bench(folders: Sequence[Path], *, photos: int, on_progress: ProgressCallback) -> str:
    """Judge on up to `photos` photos of each folder, or on drawn ones, and return the JSON line.

    Raises:
        ConfigurationError: a folder contains no photo, or there are fewer than three.
    """
    sets = {it.name: read_samples(it, photos, for_fitting=False) for it in folders}
    if not sets:
        sets = {"drawn": drawn_samples(photos, seed=SEED)}
    samples = [it for some in sets.values() for it in some]
    if len(samples) < 3:
        raise ConfigurationError("three photos or more are needed: a collage, and one beside it")
    on_progress(f"{len(samples)} photos")
    prepared = prepare(samples, seed=SEED)
    compared = list(compared_originals(prepared))
    for name in ALTERATIONS:
        on_progress(f"{name}: {len(samples)} photos")
        compared += compared_copies(prepared, seed=SEED, names=(name,))
    return json.dumps(
        {
            **judge(compared),
            "false_pairs": _false_pairs(compared, samples),
            "set_aside": len(prepared.aside),
            "photos": {name: len(some) for name, some in sets.items()},
            "ms_a_photo": _times_of_photos(samples),
            "ms_a_pair": _times_of_pairs(prepared),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        }
    )


def judge(compared: Sequence[Compared]) -> dict[str, Any]:
    """Precision over all pairs and recall by alteration, of the product and of each baseline."""
    same = np.array([it.same for it in compared])
    names = np.array([it.name for it in compared])
    constants = installed_constants()
    likely = scores(compared)
    methods = {"product": (likely, float(constants["same_photo"]))}
    for name, score in {
        "pdq": np.array([-float(it.pdq_distance) for it in compared]),
        "phash": np.array([-float(it.phash_distance) for it in compared]),
        "embeddings": np.array([it.features[FEATURES.index("cosine")] for it in compared]),
    }.items():
        methods[name] = score, threshold_at(score, same, PRECISION)
    return {
        "pairs": {"same": int(same.sum()), "different": int((~same).sum())},
        "recall": {
            name: {
                method: round(float((score[same & (names == name)] >= least).mean()), 4)
                for method, (score, least) in methods.items()
            }
            for name in ALTERATIONS
            if (same & (names == name)).any()
        },
        "precision": {
            method: _precision(score >= least, same) for method, (score, least) in methods.items()
        },
        "false": {
            method: int(((score >= least) & ~same).sum())
            for method, (score, least) in methods.items()
        },
        "threshold": {
            method: None if np.isinf(least) else round(abs(least), 4)
            for method, (_, least) in methods.items()
        },
        "mirrored_named": round(
            float(np.mean([it.mirrored for it in compared if it.same and "mirrored" in it.name])), 4
        ),
        "calibration": _calibration(likely, same),
    }


def scores(compared: Sequence[Compared]) -> NDArray[np.float64]:
    """The product's probability that a pair is the same photo; 0 where it does not compare them,
    because neither their hashes are near nor enough of their binary features agree."""
    rows = np.array([it.features for it in compared])
    near = (rows[:, FEATURES.index("pdq_low_quality")] == 0) & (
        np.array([it.pdq_distance for it in compared]) <= FURTHEST
    )
    worth = near | (np.array([it.agreeing for it in compared]) >= ENOUGH)
    return np.where(worth, probabilities(rows, installed_constants())[:, 2], 0.0)


def threshold_at(score: NDArray[np.float64], same: NDArray[np.bool_], precision: float) -> float:
    """The lowest score from which this share of the pairs is the same; infinity where no score
    has it. Equal scores are all in, or all out."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    shares = np.cumsum(same[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    enough = np.flatnonzero((shares >= precision) & last_of_equals)
    return float(ordered[enough[-1]]) if len(enough) else float("inf")


def _precision(found: NDArray[np.bool_], same: NDArray[np.bool_]) -> float | None:
    return round(float(same[found].mean()), 5) if found.any() else None


def _calibration(likely: NDArray[np.float64], same: NDArray[np.bool_]) -> list[Mapping[str, float]]:
    """By bin of the probability: how many pairs, its mean, and the share that is the same."""
    found: list[Mapping[str, float]] = []
    for low, high in pairwise(BINS):
        inside = (likely >= low) & ((likely < high) | (high == BINS[-1]))
        if inside.any():
            found.append(
                {
                    "pairs": int(inside.sum()),
                    "mean": round(float(likely[inside].mean()), 4),
                    "same": round(float(same[inside].mean()), 4),
                }
            )
    return found


def _false_pairs(compared: Sequence[Compared], samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Different photos that are called the same, the surest first, for a person to look at."""
    likely = scores(compared)
    least = float(installed_constants()["same_photo"])
    wrong = [index for index, it in enumerate(compared) if not it.same and likely[index] >= least]
    wrong.sort(key=lambda index: -likely[index])
    return [
        {
            "altered": compared[index].name,
            "photos": [samples[it].name for it in (compared[index].index, compared[index].other)],
            "probability": round(float(likely[index]), 4),
        }
        for index in wrong[:NAMED]
    ]


def _times_of_photos(samples: Sequence[Sample]) -> dict[str, float]:
    photos = [it.pixels for it in samples[:TIMED]]
    greys = [photo_print(bytes(32), it).grey for it in photos]
    return {
        "hash_and_pictures": _median_ms(lambda it: photo_print(bytes(32), it), photos),
        "binary_features": _median_ms(binary_features.pack, greys),
        "local_features": _median_ms(local_features, greys),
    }


def _times_of_pairs(prepared: Prepared) -> dict[str, float]:
    """Of pairs of photos whose local features are there: of different photos, and of copies."""
    different = [(prepared.prints[a], prepared.prints[b]) for a, b in prepared.hard[:TIMED]]
    copies = [
        (it, replace(it, sha256=number.to_bytes(32)))
        for number, it in enumerate(prepared.prints[:TIMED])
    ]
    for one, other in (*different, *copies):
        _ = one.features, other.features, one.small, other.small
        _ = one.both_details, other.both_details
    return {
        "different": _median_ms(lambda it: photo_pair(*it), different),
        "same_pixels": _median_ms(lambda it: photo_pair(*it), copies),
        "binary_features": _median_ms(lambda it: _agreeing(*it), different),
    }


def _agreeing(one: PhotoPrint, other: PhotoPrint) -> int:
    return max(binary_features.agreeing(it, other.both_details[0]) for it in one.both_details)


_T = TypeVar("_T")


def _median_ms(act: Callable[[_T], object], items: Sequence[_T]) -> float:
    """The median time of an item, in milliseconds of one thread's CPU."""
    times = []
    for item in items:
        began = time.thread_time()
        act(item)
        times.append(time.thread_time() - began)
    return round(float(np.median(times)) * 1e3, 2)
