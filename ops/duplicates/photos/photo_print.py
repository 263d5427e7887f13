"""What of a photo is compared with other photos: its hash, its details and small pictures of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ops.duplicates.pdq import Pdq, pdq
from ops.duplicates.photos import agreement, binary_features, local_features
from ops.duplicates.photos.binary_features import BinaryFeatures
from ops.duplicates.photos.local_features import LocalFeatures


@dataclass(frozen=True)
class PhotoPrint:
    """Of one photo. `sha256`: of its bytes. `width`, `height`: of the rendition, in pixels.
    `pixels`: (H, W, 3) uint8 RGB, longest side at most `local_features.SIDE`. `embedding`: (D,)
    unit vector of the release's backbone, or None where there is none.

    Local features take most of the time and are computed when first asked for: pairs whose pixels
    agree as they are need none.
    """

    sha256: bytes
    width: int
    height: int
    pdq: Pdq
    pixels: NDArray[np.uint8]
    embedding: NDArray[np.float32] | None = None

    @cached_property
    def grey(self) -> NDArray[np.uint8]:
        """(H, W) uint8 luma, longest side at most `local_features.SIDE`."""
        return np.asarray(Image.fromarray(self.pixels).convert("L"))

    @cached_property
    def small(self) -> NDArray[np.uint8]:
        """(H, W) uint8 luma, longest side at most `agreement.SIDE`."""
        image = Image.fromarray(self.grey)
        image.thumbnail((agreement.SIDE, agreement.SIDE), Image.Resampling.BOX)
        return np.asarray(image)

    @cached_property
    def details(self) -> bytes:
        """The binary features of `grey`, packed."""
        return binary_features.pack(self.grey)

    @cached_property
    def both_details(self) -> tuple[BinaryFeatures, BinaryFeatures]:
        """The binary features of the photo, and those of its mirror image."""
        packed = self.details, binary_features.pack(np.ascontiguousarray(self.grey[:, ::-1]))
        return binary_features.unpack(packed[0]), binary_features.unpack(packed[1])

    @cached_property
    def features(self) -> LocalFeatures:
        """The local features of `grey`."""
        return local_features.local_features(self.grey)

    @cached_property
    def mirrored_features(self) -> LocalFeatures:
        """Those of the mirror image."""
        return self.features.mirrored(self.grey.shape[1])


def photo_print(
    sha256: bytes, photo: NDArray[np.uint8], *, embedding: NDArray[np.floating] | None = None
) -> PhotoPrint:
    """The print of a photo.

    Args:
        sha256: of its bytes: the photo's identity.
        photo: (H, W, 3) uint8 RGB, upright; the rendition's pixels.
        embedding: (D,) of its unit embedding.
    """
    height, width = photo.shape[:2]
    image = Image.fromarray(photo)
    luma = np.asarray(image.convert("L"))
    image.thumbnail((local_features.SIDE, local_features.SIDE), Image.Resampling.BOX)
    vector = None if embedding is None else np.asarray(embedding, np.float32)
    return PhotoPrint(sha256, width, height, pdq(luma), np.asarray(image), vector)
