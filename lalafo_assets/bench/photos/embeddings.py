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
    rows = []
    for start in range(0, len(photos), BATCH):
        files = [
            simplejpeg.encode_jpeg(np.ascontiguousarray(it), 90)
            for it in photos[start : start + BATCH]
        ]
        rows.append(embeddings_of_files(files).astype(np.float32))
    return np.concatenate(rows)


def embeddings_of_files(files: Sequence[bytes]) -> NDArray[np.float16]:
    """(N, D) float16 unit rows of JPEG files, as they are stored."""
    embedder, preprocessing = _backbone()
    return embedder.embed([prepare(data, preprocessing) for data in files])
