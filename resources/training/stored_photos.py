"""Stored photos as a model wants them: their vectors, or their pixels, from stored renditions.

Decides that nothing is fetched, and that a photo which is lost from the store stops nothing: it is
left out.
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
"""By the photo's SHA-256: (D,) each."""


def embed_renditions(
    store: PhotoStore,
    renditions: Mapping[bytes, bytes],
    embedder: PhotoEmbedder,
    preprocessing: Preprocessing,
    *,
    on_progress: StepProgress,
    what: str = "embedding photos",
) -> dict[bytes, NDArray[np.float16]]:
    """The vectors of photos, always in the order of their SHA-256; unreadable ones are left out.

    Args:
        renditions: the rendition's SHA-256 by the photo's.
    """
    from ops.models.embed import prepare

    def load(sha256: bytes) -> NDArray[np.uint8] | None:
        try:
            return prepare(store.get("renditions", renditions[sha256]), preprocessing)
        except (StoredObjectError, BadInputError):
            return None

    wanted = sorted(renditions)
    found: dict[bytes, NDArray[np.float16]] = {}
    with ThreadPoolExecutor(every_core()) as threads:
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            loaded = zip(chunk, threads.map(load, chunk), strict=True)
            pairs = [(sha, image) for sha, image in loaded if image is not None]
            rows = embedder.embed([image for _, image in pairs])
            found.update(zip((sha for sha, _ in pairs), rows, strict=True))
            on_progress(what, start + len(chunk), len(wanted))
    return found


class RenditionLoader:
    """Pixels of stored photos by row number and size: what training reads, batch by batch."""

    def __init__(
        self, store: PhotoStore, renditions: Sequence[bytes], preprocessing: Preprocessing
    ) -> None:
        self._store, self._renditions, self._preprocessing = store, renditions, preprocessing
        self._threads = ThreadPoolExecutor(every_core())

    def __call__(self, rows: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """(B,) row numbers -> (B, size, size, 3) uint8 RGB."""
        from dataclasses import replace

        from ops.models.embed import prepare

        wanted = replace(self._preprocessing, size=size)

        def load(row: int) -> NDArray[np.uint8]:
            return prepare(self._store.get("renditions", self._renditions[row]), wanted)

        return np.stack(list(self._threads.map(load, rows.tolist())))

    def close(self) -> None:
        """End its threads."""
        self._threads.shutdown()
