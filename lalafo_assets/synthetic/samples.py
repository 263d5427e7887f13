"""Draws the sample photos that the gateway's page offers to try; `python -m` writes them again.

Owns which goods they show, and their size. The gateway serves the files and draws nothing.
"""

import io
from pathlib import Path

from PIL import Image

from lalafo_assets.synthetic.photos import pixels

SAMPLES = {"chair": 4, "bicycle": 5, "guitar": 3, "camera": 4, "dress": 3}
"""The seed of each sample, by category."""
FOLDER = Path(__file__).parents[2] / "gateway" / "page" / "static" / "samples"
MAX_BYTES = 15_000
_SIDE = 384  # pixels of the longest side
_QUALITIES = range(85, 40, -3)


def sample_picture(category: str) -> Image.Image:
    """Draw the sample photo of a category in SAMPLES."""
    return Image.fromarray(pixels(category, SAMPLES[category], _SIDE)[0])


def sample(category: str) -> bytes:
    """The sample photo as a JPEG of MAX_BYTES at most, in the best quality that fits."""
    picture = sample_picture(category)
    for quality in _QUALITIES:
        encoded = io.BytesIO()
        picture.save(encoded, "JPEG", quality=quality, optimize=True, progressive=True)
        if len(encoded.getvalue()) <= MAX_BYTES:
            return encoded.getvalue()
    raise ValueError(f"the sample {category!r} does not fit into {MAX_BYTES} bytes")


if __name__ == "__main__":
    for name in SAMPLES:
        (FOLDER / f"{name}.jpg").write_bytes(sample(name))
