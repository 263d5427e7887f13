"""The prints of stored photos, from their renditions; the last ones stay in memory."""

import io
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import structlog
from PIL import Image

from ops.duplicates.photos.photo_print import PhotoPrint, photo_print
from ops.errors import StoredObjectError
from ops.isolation import describe, divided
from resources.duplicates.stored_ads import StoredPhoto
from resources.storage.photos import PhotoStore

KEPT = 200
"""Prints in memory: about a megabyte each, with their local features."""

log = structlog.get_logger()


class Prints:
    """Reads prints; not for several threads at once.

    Attributes:
        unreadable: photos whose rendition is lost, or can't be decoded; each counts once a read.
    """

    def __init__(self, store: PhotoStore, *, kept: int = KEPT) -> None:
        self.unreadable = 0
        self._store = store
        self._kept = kept
        self._prints: OrderedDict[bytes, PhotoPrint] = OrderedDict()
        self._backbone: str | None = None

    def use(self, backbone: str | None) -> None:
        """Photos come with embeddings of this backbone from now on."""
        if backbone != self._backbone:
            self._backbone = backbone
            self._prints.clear()

    def of(self, photo: StoredPhoto) -> PhotoPrint | None:
        """The print of a photo; None if it can't be read.

        Raises:
            RetryableError: the store is unavailable.
        """
        known = self._prints.pop(photo.sha256, None)
        if known is None or (known.embedding is None) != (photo.embedding is None):
            read = divided([photo], self._read, self._fail)
            if not read:
                return None
            known = read[0]
        self._prints[photo.sha256] = known
        if len(self._prints) > self._kept:
            self._prints.popitem(last=False)
        return known

    def _read(self, photos: Sequence[StoredPhoto]) -> list[PhotoPrint]:
        (photo,) = photos
        data = self._store.get("renditions", photo.rendition_sha256)
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        return [photo_print(photo.sha256, pixels, embedding=photo.embedding)]

    def _fail(self, photo: StoredPhoto, error: BaseException) -> tuple[()]:
        """The photo is compared by its bytes alone."""
        self.unreadable += 1
        lost = isinstance(error, StoredObjectError)
        why = str(error) if lost else describe(error)
        log.warning("duplicates.unreadable", photo=photo.sha256.hex(), error=why)
        return ()
