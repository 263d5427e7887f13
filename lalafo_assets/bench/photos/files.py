"""Photos of a folder, in two halves: one to fit constants on, and one to judge them by."""

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ops.photos.pixels import Pixels

LONGEST = 640  # pixels, as of a rendition


def photo_files(folder: Path) -> list[Path]:
    """The photos below a folder, sorted by their paths."""
    return sorted(it for it in folder.rglob("*") if it.suffix.lower() in (".jpg", ".jpeg", ".png"))


def is_for_fitting(data: bytes) -> bool:
    """Whether a file is in the half that the constants are fitted on: its SHA-256 is even."""
    return hashlib.sha256(data).digest()[-1] % 2 == 0


def pixels_of(data: bytes) -> Pixels:
    """A file as a rendition: RGB, its longest side at most LONGEST."""
    with Image.open(BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail((LONGEST, LONGEST))
    return np.asarray(upright)
