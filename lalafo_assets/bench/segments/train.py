"""Trains the network that the task `segments` ships with.

`python -m lalafo_assets.bench.segments.train --real FOLDER --work DIR` trains on drawn goods, then
on drawn and real ones: once on each half of FOLDER, for the figures on the other half, and once on
all of it, for the weights that ship. With `--minutes` it stops then; the next call continues with
what is in DIR. FOLDER has `photos/*.jpg` and `masks/*.png` of the same names.

Owns the seed, the courses and the files in DIR. `shipped.py` writes the shipped file of them.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import structlog

from lalafo_assets.bench.segments.samples import RealPhoto, Samples, half, read_real
from ops.models.release import State
from ops.models.release_files import decode_backbone, encode_backbone

SEED = 20261129
SIDE = 256  # pixels of the squashed photo
BATCH = 8
REAL_SHARE = 0.5
DRAWN_STEPS, REAL_STEPS = 1_800, 400
REAL_RATE = 1.5e-3

DRAWN, ALL = "drawn", "all"
HALF = "half-{}"  # trained on that half of the real photos

_log = structlog.get_logger(__name__)


def weights_file(work: Path, name: str) -> Path:
    """Where the weights of a course are, once it has ended."""
    return work / f"{name}.safetensors"


def train(work: Path, real: list[RealPhoto], until: Callable[[], bool]) -> bool:
    """Train what is not trained yet; True: all is. Weights are in `weights_file(work, …)`."""
    courses: list[tuple[str, list[RealPhoto]]] = [(DRAWN, [])]
    courses += [(HALF.format(which), half(real, which)) for which in (0, 1)] if real else []
    courses += [(ALL, real)] if real else []
    for name, photos in courses:
        if not weights_file(work, name).exists() and not _course(work, name, photos, until):
            return False
    return True


def _course(work: Path, name: str, photos: list[RealPhoto], until: Callable[[], bool]) -> bool:
    import torch

    from lalafo_assets.bench.segments.learning import Course, learn
    from lalafo_assets.bench.segments.network import Segmenter
    from ops.models.networks.names import PACKAGED_BACKBONE
    from resources.training.weights import starting_weights

    torch.manual_seed(SEED)
    start = starting_weights("pretrained", PACKAGED_BACKBONE, starter=_no_starter)
    network = Segmenter(start.preprocessing)
    network.encoder.load(start.state)
    course = Course(steps=DRAWN_STEPS)
    if name != DRAWN:
        network.load(decode_backbone(weights_file(work, DRAWN).read_bytes()))
        course = Course(steps=REAL_STEPS, peak_rate=REAL_RATE)
    samples = Samples(photos, share=REAL_SHARE, side=SIDE, batch=BATCH, seed=SEED)
    checkpoint = work / f"{name}.checkpoint"

    def progress(step: int, loss: float) -> None:
        _log.info("segments_training", course=name, step=f"{step}/{course.steps}", loss=loss)

    if not learn(network, samples, course, checkpoint, until=until, on_progress=progress):
        return False
    weights_file(work, name).write_bytes(encode_backbone(network.state()))
    checkpoint.unlink(missing_ok=True)
    return True


def _no_starter(backbone: str) -> State:
    raise AssertionError(f"the package of {backbone} is a dependency")


def main() -> None:
    """Run the program's command line."""
    import cv2
    import torch

    from lalafo_assets.bench.segments.learning import minutes

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, default=None)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    real = [] if options.real is None else read_real(options.real)
    done = train(options.work, real, minutes(options.minutes))
    _log.info("segments_trained" if done else "segments_training_interrupted")


if __name__ == "__main__":
    main()
