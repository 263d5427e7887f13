"""Makes the prints of photos for the fit and the bench, with embeddings of the default backbone."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from ops.duplicates.photos.photo_print import PhotoPrint, photo_print
from ops.photos.pixels import Pixels

BATCH = 64


@lru_cache(maxsize=1)
def _backbone() -> tuple[object, object]:
    from lalafo_assets.starter import starter_state
    from ops.models.embed import Embedder
    from ops.models.release import FrozenBackbone
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
    from ops.models.embed import prepare

    embedder, preprocessing = _backbone()
    images = [prepare(data, preprocessing) for data in files]  # type: ignore[arg-type]
    found: NDArray[np.float16] = embedder.embed(images)  # type: ignore[attr-defined]
    return found


def prints(photos: Sequence[Pixels]) -> Iterator[PhotoPrint]:
    """The print of each photo; its identity is the digest of its pixels."""
    for start in range(0, len(photos), BATCH):
        some = photos[start : start + BATCH]
        for photo, row in zip(some, embeddings(some), strict=True):
            digest = hashlib.sha256(photo.tobytes()).digest()
            yield photo_print(digest, photo, embedding=row)
