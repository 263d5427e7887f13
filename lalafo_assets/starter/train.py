"""Makes the release that ships with the package: `python -m lalafo_assets.starter.train`.

The shipped one took two rounds: `--out A`, then `--out B --round 2 --start A`. To ship B, copy its
files to lalafo_assets/starter and set DIGEST there to what this prints.

Decides how many pictures it learns from, how it is judged and what is stored; refuses to know any
real photo. Whatever it is judged on comes from seeds that it never learned from, encoded and
decoded as the product does it.
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

TASK = "category"
WEIGHTS_SOURCE = "starter, trained from nothing on drawn photos"
LEAST_ACCURACY = 0.95
LEARN_SEED, HEAD_SEED, JUDGE_SEED = 910_000, 920_002, 930_003
MAX_PHOTO_PIXELS = 50_000_000
STAGES = ((112, 170_000, 0.45), (160, 120_000, 0.6), (224, 40_000, 0.8))
"""Input size in pixels, samples, least area of a crop: most is learned where it costs least."""

_log = structlog.get_logger(__name__)


def _rendition(wanted: tuple[str, int]) -> bytes:
    """One photo as the product stores it."""
    return make_rendition(render(*wanted).data, max_pixels=MAX_PHOTO_PIXELS).data


def photos(
    count: int, seed: int, preprocessing: Preprocessing, workers: int
) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """`count` photos ready for the embedder, and their categories: encoded, made renditions,
    decoded and squashed as the product does it."""
    from ops.models.embed import prepare  # here: the processes that draw start without torch

    wanted = plan(count, seed)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        renditions = pool.map(_rendition, wanted, chunksize=32)
        images = [prepare(data, preprocessing) for data in renditions]
    return images, [category for category, _ in wanted]


def compact(state: State) -> State:
    """Weights of layers in float16, half the size; norms, biases and counters as they are."""
    return {
        name: value.astype(np.float16) if value.ndim > 1 else value for name, value in state.items()
    }


def with_head(
    state: State, preprocessing: Preprocessing, *, head_photos: int, judged: int, workers: int
) -> Release:
    """Fit the category head on new drawn photos, judge it on others, and freeze the release.

    Raises:
        ConfigurationError: the accuracy on the judged photos is below LEAST_ACCURACY.
    """
    from ops.models.backbones import DEFAULT_BACKBONE
    from ops.models.embed import Embedder
    from ops.models.fit_head import fit_head
    from ops.models.heads import class_probabilities
    from ops.training.evaluation import evaluate, logistic_regression_accuracy

    backbone = FrozenBackbone(DEFAULT_BACKBONE, state, preprocessing)
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
    }
    _log.info("judged on photos of other seeds", **metrics)
    if metrics["accuracy"] < LEAST_ACCURACY:
        raise ConfigurationError(
            f"Accuracy {metrics['accuracy']:.3f} is below {LEAST_ACCURACY}: train on more samples."
        )
    metrics["yardstick_accuracy"] = logistic_regression_accuracy(rows, labels, new_rows, truth)
    return assemble(
        backbone=backbone.name,
        weights_source=WEIGHTS_SOURCE,
        preprocessing=preprocessing,
        backbone_state=state,
        heads={TASK: fitted.head},
        metrics=metrics,
    )


def write(release: Release, out: Path) -> int:
    """Write the release's three files into a folder; their bytes in all."""
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
    """Draw, train, fit, judge; drawings and backbone stay in `options.work` where it is given."""
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
    """The backbone's weights; what a former call left in the folder is not made again."""
    from lalafo_assets.starter.data import draw
    from lalafo_assets.starter.training import START_FILE, Recipe, Stage, train_apart
    from ops.models.backbones import supports_bf16

    if (folder / BACKBONE_FILE).exists():
        return decode_backbone((folder / BACKBONE_FILE).read_bytes())
    drawn = folder / "drawn"
    if not drawn.exists():
        started = time.monotonic()
        side, workers = preprocessing.size, options.processes
        seed = LEARN_SEED + options.round
        draw(options.pictures, seed=seed, side=side, workers=workers).save(folder)
        drawn.touch()
        _log.info("drawn", pictures=options.pictures, seconds=round(time.monotonic() - started))
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
    """The command; exit status 2 where the result is not good enough."""
    parser = argparse.ArgumentParser(
        prog="train_starter", description="Train the starter on drawn photos."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the three files")
    parser.add_argument(
        "--work", type=Path, help="keep drawings and backbone here, and go on from what is there"
    )
    parser.add_argument(
        "--round", type=int, default=1, help="2 and on: new drawings, half the rate"
    )
    parser.add_argument("--start", type=Path, help="what the round before wrote; from round 2 on")
    parser.add_argument("--pictures", type=int, default=30_000, help="drawn for the backbone")
    parser.add_argument("--effort", type=float, default=1.0, help="share of the usual samples")
    parser.add_argument("--head-photos", type=int, default=5_800)
    parser.add_argument("--judged", type=int, default=2_900, help="held-out photos")
    parser.add_argument("--processes", type=int, default=2, help="at most one a core")
    options = parser.parse_args(arguments)
    if (options.round > 1) != (options.start is not None):
        parser.error("--start belongs to --round 2 and on, and only there")
    try:
        release = train_starter(options)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    size = write(release, options.out)
    digest = release.manifest.digest
    _log.info("written", digest=digest, bytes=size, folder=str(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
