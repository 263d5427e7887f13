"""Embeddings of the default backbone, for benches that compare photos."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from ops.models.embed import Embedder, prepare
from ops.models.release import FrozenBackbone, Preprocessing
from ops.photos.pixels import Pixels

BATCH = 64


@lru_cache(maxsize=1)
def _backbone() -> tuple[Embedder, Preprocessing]:
    from lalafo_assets.starter import starter_state
    from resources.training.weights import ANY, starting_weights

    given = starting_weights("auto", ANY, starter=starter_state)
    frozen = FrozenBackbone(given.backbone, given.state, given.preprocessing)
    return Embedder(frozen, device="cpu", threads=1), given.preprocessing


def embeddings(photos: Sequence[Pixels]) -> NDArray[np.float32]:
    """(N, D) float32 unit rows, rounded as they are stored."""
    embedder, preprocessing = _backbone()
    rows = []
    for start in range(0, len(photos), BATCH):
        images = [
            prepare(simplejpeg.encode_jpeg(np.ascontiguousarray(it), 90), preprocessing)
            for it in photos[start : start + BATCH]
        ]
        rows.append(embedder.embed(images).astype(np.float32))
    return np.concatenate(rows)
