"""Makes the release that ships with the package: `python -m lalafo_assets.starter.train`.

The shipped release took two rounds: `--out A`, then `--out B --round 2 --start A`. To ship B, copy
its files to lalafo_assets/starter and set DIGEST there to the digest that this program logs.

Owns the number of training pictures, the evaluation and the files written. Uses drawn photos only.
The photos for the evaluation come from seeds that were not used in training, and are encoded and
decoded as in production.
"""

import argparse
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from lalafo_assets.synthetic.photos import plan, render
from ops.errors import ConfigurationError
from ops.models.release import (
    BACKBONE_FILE,
    HEADS_FILE,
    FrozenBackbone,
    Preprocessing,
    Release,
    State,
)
from ops.models.release_files import assemble, decode_backbone, encode_backbone, encode_heads
from ops.photos.rendition import make_rendition
from ops.training.provenance import STARTER_SOURCE, training_photos

TASK = "category"
MIN_ACCURACY = 0.95
LEARN_SEED, HEAD_SEED, JUDGE_SEED = 910_000, 920_002, 930_003
MAX_PHOTO_PIXELS = 50_000_000
STAGES = ((112, 170_000, 0.45), (160, 120_000, 0.6), (224, 40_000, 0.8))
"""Input size in pixels, samples, least area of a crop: most samples have the cheapest size."""

_log = structlog.get_logger(__name__)


def _rendition(planned: tuple[str, int]) -> bytes:
    """Return one photo as the product stores it."""
    return make_rendition(render(*planned).data, max_pixels=MAX_PHOTO_PIXELS).data


def photos(
    count: int, seed: int, preprocessing: Preprocessing, workers: int
) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Return `count` photos ready for the embedder, and their categories.

    They are encoded, made renditions, decoded and squashed as in production.
    """
    from ops.models.embed import prepare  # here, so that the processes that draw do not load torch

    plans = plan(count, seed)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        renditions = pool.map(_rendition, plans, chunksize=32)
        images = [prepare(data, preprocessing) for data in renditions]
    return images, [category for category, _ in plans]


def compact(state: State) -> State:
    """Convert layer weights to float16, half the size; norms, biases and counters stay."""
    return {
        name: value.astype(np.float16) if value.ndim > 1 else value for name, value in state.items()
    }


def with_head(
    state: State, preprocessing: Preprocessing, *, head_photos: int, judged: int, workers: int
) -> Release:
    """Fit the category head on new drawn photos, evaluate it on others, and freeze the release.

    Args:
        judged: number of photos for the evaluation.

    Raises:
        ConfigurationError: the accuracy on these photos is below MIN_ACCURACY.
    """
    from ops.models.embed import Embedder
    from ops.models.fit_head import fit_head
    from ops.models.heads import class_probabilities
    from ops.models.networks.names import STARTER_BACKBONE
    from ops.training.evaluation import evaluate, logistic_regression_accuracy

    backbone = FrozenBackbone(STARTER_BACKBONE, state, preprocessing)
    embedder = Embedder(backbone, device="cpu", threads=1, mode="eager")
    known, labels = photos(head_photos, HEAD_SEED, preprocessing, workers)
    rows = embedder.embed(known)
    fitted = fit_head(rows, labels, task=TASK)
    new, truth = photos(judged, JUDGE_SEED, preprocessing, workers)
    new_rows = embedder.embed(new)
    found = evaluate(class_probabilities(new_rows, fitted.head), truth, fitted.head.labels)
    metrics: dict[str, Any] = {
        "accuracy": found["accuracy"],
        "calibration_error": found["calibration_error"],
        "log_loss": found["log_loss"],
        "held_out_photos": judged,
        "head_photos": head_photos,
        **training_photos(drawn=head_photos, real=0),
    }
    _log.info("starter_evaluated", **metrics)
    if metrics["accuracy"] < MIN_ACCURACY:
        raise ConfigurationError(
            f"Accuracy {metrics['accuracy']:.3f} is below {MIN_ACCURACY}: train on more samples."
        )
    baseline = logistic_regression_accuracy(rows, labels, new_rows, truth)
    metrics["logistic_regression_accuracy"] = baseline
    return assemble(
        backbone=backbone.name,
        weights_source=STARTER_SOURCE,
        preprocessing=preprocessing,
        backbone_state=state,
        heads={TASK: fitted.head},
        metrics=metrics,
    )


def write(release: Release, out: Path) -> int:
    """Write the release's three files into a folder, and return their total size in bytes."""
    files = {
        BACKBONE_FILE: encode_backbone(release.backbone_state),
        HEADS_FILE: encode_heads(release.heads),
        "manifest.json": release.manifest.to_json().encode(),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (out / name).write_bytes(data)
    return sum(len(data) for data in files.values())


def train_starter(options: argparse.Namespace) -> Release:
    """Draw, train, fit and evaluate; drawings and backbone are kept in `options.work`, if given."""
    preprocessing = Preprocessing()
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
        state = trained(options.work, options, preprocessing)
    else:
        with TemporaryDirectory(prefix="lalafo-drawings-") as folder:
            state = trained(Path(folder), options, preprocessing)
    return with_head(
        compact(state),
        preprocessing,
        head_photos=options.head_photos,
        judged=options.judged,
        workers=options.processes,
    )


def trained(folder: Path, options: argparse.Namespace, preprocessing: Preprocessing) -> State:
    """Return the backbone's weights; what an earlier call left in the folder is reused."""
    from lalafo_assets.starter.data import draw
    from lalafo_assets.starter.training import START_FILE, Recipe, Stage, train_apart
    from ops.models.processor import supports_bf16

    if (folder / BACKBONE_FILE).exists():
        return decode_backbone((folder / BACKBONE_FILE).read_bytes())
    drawn = folder / "drawn"
    if not drawn.exists():
        started = time.monotonic()
        side, workers = preprocessing.size, options.processes
        seed = LEARN_SEED + options.round
        draw(options.pictures, seed=seed, side=side, workers=workers).save(folder)
        drawn.touch()
        _log.info(
            "pictures_drawn", pictures=options.pictures, seconds=round(time.monotonic() - started)
        )
    stages = tuple(
        Stage(size, max(1, round(samples * options.effort)), area)
        for size, samples, area in STAGES[1 if options.round > 1 else 0 :]
    )
    recipe = Recipe(stages=stages, seed=options.round)
    if options.round > 1:
        recipe = replace(recipe, peak_rate=recipe.peak_rate / 2)
        shutil.copy(options.start / BACKBONE_FILE, folder / START_FILE)
    return train_apart(
        folder,
        recipe,
        preprocessing,
        processes=options.processes,
        bf16=supports_bf16("cpu"),
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 2 if the accuracy is too low."""
    parser = argparse.ArgumentParser(
        prog="train_starter", description="Train the starter on drawn photos."
    )
    parser.add_argument("--out", type=Path, required=True, help="output folder for the three files")
    parser.add_argument(
        "--work", type=Path, help="folder that keeps drawings and backbone; existing ones are used"
    )
    parser.add_argument(
        "--round",
        type=int,
        default=1,
        help="number of the round; from 2 on with new drawings and half the learning rate",
    )
    parser.add_argument(
        "--start", type=Path, help="output folder of the previous round; required from round 2 on"
    )
    parser.add_argument(
        "--pictures", type=int, default=30_000, help="number of pictures to train the backbone on"
    )
    parser.add_argument(
        "--effort", type=float, default=1.0, help="factor on the usual number of samples"
    )
    parser.add_argument(
        "--head-photos", type=int, default=5_800, help="number of photos to fit the head on"
    )
    parser.add_argument(
        "--judged", type=int, default=2_900, help="number of held-out photos for the evaluation"
    )
    parser.add_argument(
        "--processes", type=int, default=2, help="number of processes, at most one per core"
    )
    options = parser.parse_args(arguments)
    if (options.round > 1) != (options.start is not None):
        parser.error(
            "--start is required with --round 2 and higher, and not allowed with --round 1"
        )
    try:
        release = train_starter(options)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    size = write(release, options.out)
    digest = release.manifest.digest
    _log.info("release_written", digest=digest, bytes=size, folder=str(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
