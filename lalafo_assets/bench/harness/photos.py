"""Generates the photos of a bench: 400 x 533 pixels, 30 to 60 KB, as sellers upload them.

All are distinct, because the cache by SHA-256 would skip the work for a repeated photo. Each is
encoded with its own noise, so that pixels differ as well as bytes.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lalafo_assets.synthetic.photos import generate
from ops.errors import ConfigurationError

WIDTH, HEIGHT = 400, 533
BASES = 64
QUALITY = 88
NOISE = 2.5  # standard deviation, of 255: makes each photo distinct, and its size realistic

_FIELD = 2_048  # side of the square that noise is cut from; new noise would cost 6 ms a photo
_STRIDE = 1_000_003  # a prime that does not divide the number of positions, so that none repeats


def bench_photos(count: int, *, folder: Path | None, seed: int = 1) -> Iterator[bytes]:
    """`count` JPEG files, drawn or from a folder of real ones, each re-encoded with its own noise.

    The same seed gives the same files; another seed gives other noise.

    Raises:
        ConfigurationError: the folder contains no photo.
    """
    import simplejpeg

    bases = _drawn() if folder is None else _read(folder)
    rng = np.random.default_rng(seed)
    field = np.rint(rng.normal(0, NOISE, (_FIELD, _FIELD))).astype(np.int16)
    down, across = _FIELD - HEIGHT, _FIELD - WIDTH
    for index in range(count):
        top, left = divmod(index * _STRIDE % (down * across), across)
        noise = field[top : top + HEIGHT, left : left + WIDTH, None]
        pixels = np.clip(bases[index % len(bases)] + noise, 0, 255).astype(np.uint8)
        yield bytes(simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorsubsampling="420"))


def _drawn() -> list[NDArray[np.int16]]:
    return [_fitted(Image.open(io.BytesIO(photo.data))) for photo in generate(BASES, 77)]


def _read(folder: Path) -> list[NDArray[np.int16]]:
    paths = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not paths:
        raise ConfigurationError(f"{folder} contains no .jpg or .png photo")
    step = max(1, len(paths) // (BASES * 4))
    return [_fitted(Image.open(path)) for path in paths[::step][: BASES * 4]]


def _fitted(image: Image.Image) -> NDArray[np.int16]:
    with image:
        return np.asarray(image.convert("RGB").resize((WIDTH, HEIGHT))).astype(np.int16)
