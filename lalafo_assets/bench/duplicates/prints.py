"""Makes the prints of photos for the fit and the bench, with embeddings of the default backbone."""

import hashlib
from collections.abc import Iterator, Sequence

from lalafo_assets.bench.photos.embeddings import BATCH, embeddings
from ops.duplicates.photos.photo_print import PhotoPrint, photo_print
from ops.photos.pixels import Pixels


def prints(photos: Sequence[Pixels]) -> Iterator[PhotoPrint]:
    """The print of each photo; its identity is the digest of its pixels."""
    for start in range(0, len(photos), BATCH):
        some = photos[start : start + BATCH]
        for photo, row in zip(some, embeddings(some), strict=True):
            digest = hashlib.sha256(photo.tobytes()).digest()
            yield photo_print(digest, photo, embedding=row)
