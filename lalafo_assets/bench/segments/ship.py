"""Writes the network that the task `segments` ships with, and its figures.

`python -m lalafo_assets.bench.segments.ship --real FOLDER --work DIR` reads what `train.py` left
in DIR. The figures on FOLDER are of networks that were trained on the other half of it.
"""

import argparse
from pathlib import Path
from typing import Any

from lalafo_assets.bench.segments.judging import (
    drawn_photos,
    figures,
    judge,
    of_network,
    real_photos,
)
from lalafo_assets.bench.segments.samples import HALVES, half, read_real
from lalafo_assets.bench.segments.train import (
    ALL,
    BATCH,
    DRAWN_STEPS,
    HALF,
    REAL_SHARE,
    REAL_STEPS,
    SEED,
    SIDE,
    weights_file,
)
from ops.masks.measures import MaskMeasures
from ops.models.release import State
from ops.models.release_files import decode_backbone
from ops.models.segments.head import MaskNetwork
from ops.models.segments.network import LoadedNetwork
from ops.models.segments.shipped import write_shipped

DRAWN = 300
MAX_BYTES = 6_000_000
LONGEST = 640  # pixels, as of a rendition


def network_of(work: Path, course: str) -> MaskNetwork:
    """The network of a course, as releases have it."""
    from lalafo_assets.bench.segments.network import Segmenter
    from ops.models.engines.openvino_engine import convert_module
    from ops.models.networks.names import PACKAGED_BACKBONE
    from resources.training.weights import starting_weights

    start = starting_weights("pretrained", PACKAGED_BACKBONE, starter=_no_starter)
    network = Segmenter(start.preprocessing)
    network.load(decode_backbone(weights_file(work, course).read_bytes()))
    files = convert_module(network.eval(), SIDE, batch=1, half=True)
    return MaskNetwork(f"lalafo {course} {SEED}", *files, SIDE)


def cross_validated(work: Path, real: Path) -> dict[str, Any]:
    """The figures of each half's network on the other half, over all photos."""
    photos = read_real(real, LONGEST)
    measures = MaskMeasures()
    for which in range(HALVES):
        finder = of_network(LoadedNetwork(network_of(work, HALF.format(which))))
        judge(finder, real_photos(half(photos, 1 - which)), measures)
    return measures.figures()


def ship(work: Path, real: Path) -> int:
    """Write the files, and return their size in bytes."""
    network = network_of(work, ALL)
    drawn = figures(of_network(LoadedNetwork(network)), drawn_photos(DRAWN))
    facts = {
        "figures": {"drawn": drawn, "real_cross_validated": cross_validated(work, real)},
        "made_by": "python -m lalafo_assets.bench.segments.train, then .ship",
        "seed": SEED,
        "steps": {"drawn": DRAWN_STEPS, "real": REAL_STEPS, "batch": BATCH},
        "share_of_real_photos": REAL_SHARE,
        "trained_on": "drawn goods of lalafo_assets.synthetic; clothing-co-parsing (Yang et al. "
        "2014), Apache-2.0",
        "encoder": "EfficientNet-Lite0 (Google, Apache-2.0), unchanged, without its last stage",
    }
    size = write_shipped(network, facts)
    if size > MAX_BYTES:
        raise ValueError(f"the shipped network has {size} bytes; {MAX_BYTES} are allowed")
    return size


def _no_starter(backbone: str) -> State:
    raise AssertionError(f"the package of {backbone} is a dependency")


def main() -> None:
    """Run the program's command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    print(ship(options.work, options.real))  # noqa: T201 - the program's answer


if __name__ == "__main__":
    main()
