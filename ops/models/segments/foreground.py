"""The goods of a photo alone, on a grey ground: what a backbone with `foreground` embeds.

Owns the ground and the crop. Uses the shipped network, once in a process, by one thread at a time.
"""

from functools import cache
from threading import Lock

import numpy as np

from ops.errors import ConfigurationError
from ops.models.segments.goods import find_goods
from ops.models.segments.head import MaskNetwork
from ops.models.segments.network import LoadedNetwork, Pixels
from ops.models.segments.shipped import shipped_head

GROUND = 127  # code value: the middle, which networks read as 0
MARGIN = 0.05  # of the longer side of the goods' box

_one_at_a_time = Lock()


def foreground_sha256() -> str:
    """The SHA-256 of the network that this version ships: a backbone's `foreground`."""
    return str(shipped_head().config["sha256"])


def goods_alone(photo: Pixels, sha256: str) -> Pixels:
    """The photo cropped to its goods, with the rest grey; a photo without goods as it is.

    Args:
        sha256: of the network that the release was made with.

    Raises:
        ConfigurationError: this version ships another network.
    """
    with _one_at_a_time:
        goods = find_goods(photo, _network(sha256))
    if not goods.things:
        return photo
    rows, columns = np.flatnonzero(goods.mask.any(1)), np.flatnonzero(goods.mask.any(0))
    margin = round(MARGIN * max(len(rows), len(columns)))
    at = (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin),
    )
    alone = photo[at].copy()
    alone[~goods.mask[at]] = GROUND
    return alone


@cache
def _network(sha256: str) -> LoadedNetwork:
    network = MaskNetwork.of_head(shipped_head())
    if network.sha256 != sha256:
        raise ConfigurationError(
            f"The release embeds goods found by the network {sha256[:12]}; this version ships "
            f"{network.sha256[:12]}. Train a release with this version, or install the one before."
        )
    return LoadedNetwork(network)
