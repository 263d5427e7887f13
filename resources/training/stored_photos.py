"""Turns stored renditions into model inputs and vectors.

Fetches nothing by URL. When photos are embedded, one that is missing from the store is left out.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ops.errors import BadInputError, StoredObjectError
from ops.models.release import Preprocessing
from ops.scoring.ready_release import PhotoEmbedder
from ops.training.make_release import StepProgress, every_core
from resources.storage.photos import PhotoStore

_CHUNK = 256

Vectors = Mapping[bytes, NDArray[np.float16]]
"""A vector (D,) by the photo's SHA-256."""


def embed_renditions(
    store: PhotoStore,
    renditions: Mapping[bytes, bytes],
    embedder: PhotoEmbedder,
    preprocessing: Preprocessing,
    *,
    on_progress: StepProgress,
    what: str = "embedding photos",
) -> dict[bytes, NDArray[np.float16]]:
    """Embed photos, always in the order of their SHA-256; unreadable ones are left out.

    Args:
        renditions: the rendition's SHA-256, by the photo's.
    """
    from ops.models.embed import prepare

    def load(sha256: bytes) -> NDArray[np.uint8] | None:
        try:
            return prepare(store.get("renditions", renditions[sha256]), preprocessing)
        except (StoredObjectError, BadInputError):
            return None

    photos = sorted(renditions)
    vectors: dict[bytes, NDArray[np.float16]] = {}
    with ThreadPoolExecutor(every_core()) as threads:
        for start in range(0, len(photos), _CHUNK):
            chunk = photos[start : start + _CHUNK]
            loaded = zip(chunk, threads.map(load, chunk), strict=True)
            pairs = [(sha, image) for sha, image in loaded if image is not None]
            rows = embedder.embed([image for _, image in pairs])
            vectors.update(zip((sha for sha, _ in pairs), rows, strict=True))
            on_progress(what, start + len(chunk), len(photos))
    return vectors


class RenditionLoader:
    """Loads the pixels of stored photos by row number and size, for training batches."""

    def __init__(
        self, store: PhotoStore, renditions: Sequence[bytes], preprocessing: Preprocessing
    ) -> None:
        self._store, self._renditions, self._preprocessing = store, renditions, preprocessing
        self._threads = ThreadPoolExecutor(every_core())

    def __call__(self, rows: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """(B,) row numbers -> (B, size, size, 3) uint8 RGB."""
        from dataclasses import replace

        from ops.models.embed import prepare

        preprocessing = replace(self._preprocessing, size=size)

        def load(row: int) -> NDArray[np.uint8]:
            return prepare(self._store.get("renditions", self._renditions[row]), preprocessing)

        return np.stack(list(self._threads.map(load, rows.tolist())))

    def close(self) -> None:
        """Stop its threads."""
        self._threads.shutdown()
