"""Converts pixels of every mode to upright RGB over white, resizes them, and encodes JPEGs.

Owns the conversion of modes, transparency, bit depth and orientation to RGB. Does not depend on
container formats, nor on which photos are kept without re-encoding.
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

Pixels = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB, C order."""

_BAND_PIXELS = 2_000_000
"""Other modes are converted to RGB in bands of about this size, without a full-size copy."""

_PLUGINS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each Exif orientation."""


def open_image(data: bytes, photo_format: str) -> Image.Image:
    """Open an image with the plugin of this format only; nothing is decoded yet.

    `Image.open` is not used: it warns about large sizes by a process-wide setting, before the
    caller can check the size against its own limit.
    """
    return _PLUGINS[photo_format](BytesIO(data))


def fit(width: int, height: int, longest: int) -> tuple[int, int]:
    """The (width, height) of the same aspect ratio with longest side at most `longest`; never
    enlarged."""
    side = max(width, height)
    if side <= longest:
        return width, height
    return max(1, round(width * longest / side)), max(1, round(height * longest / side))


def shrunk_rgb(image: Image.Image, longest: int) -> Pixels:
    """Decode the first frame into RGB over white, with sides below 4 x `longest`.

    Besides the decoded image, only one band at a time is in memory at full size.
    """
    image.load()
    factor = max(1, max(image.size) // (2 * longest))
    rows = max(1, _BAND_PIXELS // image.width // factor) * factor
    bands = []
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        bands.append(np.asarray(_over_white(band).reduce(factor)))
    return np.concatenate(bands)


def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize to (width, height); when shrinking, the filter covers all source pixels."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an Exif orientation, 1..8."""
    if orientation not in _TURNS:
        return pixels
    return np.asarray(Image.fromarray(pixels).transpose(_TURNS[orientation]))


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """Encode a baseline 4:2:0 JPEG; equal pixels give equal bytes."""
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorsubsampling="420"
    )
    return encoded


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits per sample, in "I;16" or in "I"
        high = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(np.clip(high, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")
