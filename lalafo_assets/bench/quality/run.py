"""Runs `lalafo bench quality`: how well the scores follow known amounts, on photos held back.

For each series, the rank correlation of the score with the amount (Spearman): `pooled` over all
photos together, where photos that are darker or softer by nature count against the score, and
`per_photo`, the median over the photos of the correlation within one. Besides, the share of good
photos that are flagged, and the time of a photo.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lalafo_assets.bench.quality.degrade import jpeg
from lalafo_assets.bench.quality.fit import HARD, masked
from lalafo_assets.bench.quality.series import (
    JPEG_QUALITY,
    SERIES,
    Series,
    degraded,
    drawn_photos,
    read_photos,
)
from ops.errors import ConfigurationError
from ops.photos.pixels import Pixels
from ops.photos.quality.scores import DEFECTS, FLAG, defect_scores
from ops.tasks.quality import TASK
from ops.types import ProgressCallback

SEED = 7
TIMED = 60  # photos
STRONG_JPEG = 15  # the quality of a photo with visible blocks, which is none of the defects


def run_bench(folders: Sequence[Path], *, photos: int, on_progress: ProgressCallback) -> str:
    """Judge the scores on up to `photos` photos of each folder, or on drawn ones, and return the
    JSON line.

    Raises:
        ConfigurationError: a folder contains no photo.
    """
    sets = {it.name: read_photos(it, photos, for_fitting=False) for it in folders}
    if not sets:
        sets = {"drawn": drawn_photos(SEED, photos)}
    pixels = [photo for some in sets.values() for photo in some]
    if len(pixels) < 2:
        raise ConfigurationError("two photos or more are needed for a rank correlation")
    found: dict[str, Any] = {}
    for series in SERIES:
        on_progress(f"{series.name}: {len(pixels)} photos by {len(series.amounts)}")
        found[series.name] = judge(series, pixels)
    on_progress("photos as they are")
    flagged = {name: flags(some) for name, some in sets.items()}
    flagged["strong_jpeg"] = flags([jpeg(photo, STRONG_JPEG) for photo in pixels])
    for folder in folders:
        pairs = list(masked(folder, photos, for_fitting=False))
        for name, make in HARD.items():
            if pairs:
                good = [jpeg(make(photo, mask), JPEG_QUALITY) for photo, mask in pairs]
                flagged[f"{folder.name}_{name}"] = flags(good)
    return json.dumps(
        {
            "correlation": found,
            "flagged": flagged,
            "ms_a_photo": time_of(scored, pixels),
            "moderation": moderated(sets),
            "photos": len(pixels),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        }
    )


def judge(series: Series, photos: Sequence[Pixels]) -> dict[str, Any]:
    """How the score of a series' defect follows the amounts."""
    rng = np.random.default_rng(SEED)
    rows = np.array(
        [
            (index, amount, scored(photo)[series.defect])
            for index, amount, photo in degraded(series, photos, rng)
        ]
    )
    within = [
        spearman(mine[:, 1], mine[:, 2])
        for mine in (rows[rows[:, 0] == index] for index in range(len(photos)))
    ]
    return {
        "defect": series.defect,
        "unit": series.unit,
        "pooled": round(spearman(rows[:, 1], rows[:, 2]), 3),
        "per_photo": round(float(np.median(within)), 3),
        "median_score": {
            f"{amount:g}": round(float(np.median(rows[rows[:, 1] == amount, 2])), 3)
            for amount in series.amounts
        },
        "flagged": {
            f"{amount:g}": round(float((rows[rows[:, 1] == amount, 2] >= FLAG).mean()), 3)
            for amount in series.amounts
        },
    }


def spearman(amounts: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> float:
    """Spearman's rank correlation, with mean ranks for equal values; 0 where all are equal."""
    from scipy.stats import rankdata

    first, second = rankdata(amounts), rankdata(scores)
    if np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def flags(photos: Sequence[Pixels]) -> dict[str, Any]:
    """The share of photos with each flag; of photos that are good, these are false."""
    some = [scored(photo) for photo in photos]
    shares = {name: float(np.mean([it[name] >= FLAG for it in some])) for name in DEFECTS}
    return {
        "photos": len(photos),
        **{name: round(share, 3) for name, share in shares.items() if share > 0},
    }


def scored(photo: Pixels) -> dict[str, float]:
    """The scores of a photo, by the constants of the installed version; its size is its file's."""
    height, width = photo.shape[:2]
    return defect_scores(photo, source_width=width, source_height=height, config=TASK.config)


def moderated(sets: Mapping[str, Sequence[Pixels]]) -> dict[str, Any] | None:
    """The share of photos by folder that the task moderation would not allow, its largest
    probability of nudity, and its time; None without the extra `moderation`."""
    from ops.models.nudity.network import nudity
    from ops.tasks import moderation, tasks_left_out

    if moderation.TASK.name in tasks_left_out():
        return None
    review, block = (moderation.TASK.config[name] for name in ("review", "block"))
    found: dict[str, Any] = {}
    for name, photos in sets.items():
        seen = np.array([nudity(photo) for photo in photos])
        found[name] = {
            "photos": len(photos),
            "review": round(float(((seen >= review) & (seen < block)).mean()), 3),
            "block": round(float((seen >= block).mean()), 3),
            "largest": round(float(seen.max()), 3),
        }
    every = [photo for photos in sets.values() for photo in photos]
    return {**found, "ms_a_photo": time_of(nudity, every)}


def time_of(act: Callable[[Pixels], object], photos: Sequence[Pixels]) -> float:
    """The median time of a photo, in milliseconds of one thread's CPU."""
    times = []
    for photo in photos[:TIMED]:
        began = time.thread_time()
        act(photo)
        times.append(time.thread_time() - began)
    return round(float(np.median(times)) * 1e3, 2)
