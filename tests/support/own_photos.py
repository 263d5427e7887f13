"""Small photos as files: different ones by seed, in the format that the name says."""

from pathlib import Path

import numpy as np
from PIL import Image

HEIF_SUFFIXES = (".heic", ".heif")


def jpeg(path: Path, *, seed: int) -> Path:
    """Write a photo of 96 x 64 pixels in the format of the path's extension, whatever its case."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    image = Image.fromarray(colours).resize((96, 64), Image.Resampling.BICUBIC)
    if path.suffix.lower() in HEIF_SUFFIXES:
        import pillow_heif

        pillow_heif.from_pillow(image).save(path, format="HEIF")
    else:
        image.save(path)
    return path


def draw(folder: Path, count: int, *, seed: int | None = None) -> None:
    """Write `count` different photos 0.jpg, 1.jpg, …; by default, others than in other folders."""
    first = sum(folder.as_posix().encode()) * 1_000 if seed is None else seed * 1_000
    for number in range(count):
        jpeg(folder / f"{number}.jpg", seed=first + number)
