"""Converts pixels of every mode to upright sRGB over white, resizes them, and encodes JPEGs.

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
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ops.photos.colour import Conversion

Pixels = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB, C order."""

BAND_PIXELS = 1_000_000
"""Other modes are converted to RGB in bands of about this size, without a full-size copy."""

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})

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


def open_image(data: bytes, photo_format: str) -> ImageFile.ImageFile:
    """Open an image with the plugin of this format only; nothing is decoded yet.

    `Image.open` is not used: it warns about large sizes by a process-wide setting, before the
    caller can check the size against its own limit.
    """
    return _PLUGINS[photo_format](BytesIO(data))


def _open_heic(file: BytesIO) -> ImageFile.ImageFile:
    """Open a HEIC with libheif, which is loaded at the first one."""
    import pillow_heif

    options = pillow_heif.options
    options.DECODE_THREADS = 1  # the caller's threads run in parallel
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    return pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call] # it is untyped


_PLUGINS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "heic": _open_heic,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}


def fit(width: int, height: int, longest: int) -> tuple[int, int]:
    """The (width, height) of the same aspect ratio with longest side at most `longest`; never
    enlarged."""
    side = max(width, height)
    if side <= longest:
        return width, height
    return max(1, round(width * longest / side)), max(1, round(height * longest / side))


def shrunk_rgb(image: Image.Image, longest: int, conversion: Conversion | None = None) -> Pixels:
    """Decode the first frame into sRGB over white, with sides below 4 x `longest`.

    Besides the decoded image, only one band at a time is in memory at full size.

    Args:
        conversion: to sRGB; ignored where it is for another colour space than the image's.
    """
    image.load()
    if conversion is not None and conversion.mode != colour_space(image.mode):
        conversion = None
    factor = max(1, max(image.size) // (2 * longest))
    rows = max(1, BAND_PIXELS // image.width // factor) * factor
    bands = []
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        bands.append(np.asarray(_over_white(band, factor, conversion)))
    return np.concatenate(bands)


def colour_space(mode: str) -> str:
    """The colour space of Pillow's modes: "L", "CMYK", "LAB" or "RGB"."""
    if mode in ("CMYK", "LAB"):
        return mode
    return "L" if mode in _GREY_MODES else "RGB"


def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize to (width, height); when shrinking, the filter covers all source pixels."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def rows_alike(pixels: Pixels, other: Pixels, block_rows: int) -> float:
    """The rows from the top on that are equal; a row of blocks counts by its part from the left.

    Args:
        block_rows: rows of pixels that are decoded together.
    """
    differs = (pixels != other).any(axis=2)
    rows = np.flatnonzero(differs.any(axis=1))
    if rows.size == 0:
        return float(pixels.shape[0])
    first = int(rows[0])
    block = differs[first : first + block_rows]
    left = int(np.flatnonzero(block.any(axis=0))[0])
    return float(first + block.shape[0] * left / pixels.shape[1])


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


def _over_white(image: Image.Image, factor: int, conversion: Conversion | None) -> Image.Image:
    """The image as RGB over white, reduced; an opaque one is reduced before its conversion."""
    if image.mode.startswith("I;16"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("LA" if colour_space(image.mode) == "L" else "RGBA")
        colours, alpha = _without_alpha(image), image.getchannel("A")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(_as_rgb(colours, conversion), mask=alpha)
        return white.reduce(factor)
    if conversion is None:
        return _as_rgb(image, None).reduce(factor)
    opaque = image if image.mode == conversion.mode else image.convert(conversion.mode)
    return conversion.apply(opaque.reduce(factor))


def _eight_bits(image: Image.Image) -> Image.Image:
    """The upper 8 of 16 bits; `Image.convert` would clip to 255 instead."""
    samples = np.asarray(image)
    grey = Image.fromarray((samples >> 8).astype(np.uint8))
    if "transparency" not in image.info:
        return grey
    opaque = np.where(samples == image.info["transparency"], 0, 255).astype(np.uint8)
    return Image.merge("LA", (grey, Image.fromarray(opaque)))


def _without_alpha(image: Image.Image) -> Image.Image:
    return image.getchannel("L") if image.mode == "LA" else image.convert("RGB")


def _as_rgb(image: Image.Image, conversion: Conversion | None) -> Image.Image:
    if conversion is not None:
        return conversion.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")
