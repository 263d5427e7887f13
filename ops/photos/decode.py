"""Decodes source photos: JPEG by libjpeg-turbo, other formats by Pillow, at the smallest scale.

A rendition is decoded for the model in `ops/models/embed.py` (`prepare`).

Owns the size limits that are checked before anything is decoded, and the lock that limits memory.
"""

import re
import threading
from contextlib import AbstractContextManager, nullcontext

import simplejpeg
from PIL import features

from ops.errors import BadInputError, Reason
from ops.photos.formats import Container, broken, truncated
from ops.photos.jpeg_markers import JpegLayout
from ops.photos.pixels import Pixels, fit, open_image, shrunk_rgb

SMALLEST_SIDE = 16

_HEAVY_PIXELS = 8_000_000
_heavy_decode = threading.Lock()
"""Limits full-size decoding of large pictures to one at a time: it takes up to 16 bytes for each
pixel (WebP)."""

_PADDED_END = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MAX_PADDING = 64
"""Bytes that some cameras leave before the end marker; the picture before them is complete."""


def decode_jpeg(data: bytes, layout: JpegLayout, *, longest: int) -> Pixels:
    """Decode a JPEG at the smallest scale whose longest side is at least `longest`.

    Returns: (H, W, 3) uint8 RGB, not yet upright.
    """
    with _decode_slot((layout.width, layout.height)) if layout.progressive else nullcontext():
        return _decode_jpeg(data, layout, longest)


def decode_container(
    container: Container, photo_format: str, *, longest: int, max_pixels: int
) -> tuple[Pixels, tuple[int, int], bytes]:
    """Decode the first picture of a PNG, WebP, GIF or AVIF over white.

    Returns: the pixels, (H, W, 3) uint8 RGB, reduced to about `longest`; the size before that,
    (width, height); the EXIF data.

    Raises:
        BadInputError: PHOTO_TOO_LARGE or PHOTO_TOO_SMALL, before the pixels are decoded.
    """
    if container.size is not None:
        check_size(photo_format, container.size, max_pixels)
    with _decode_slot(container.size), open_image(container.data, photo_format) as image:
        check_size(photo_format, image.size, max_pixels)
        size = image.size
        return shrunk_rgb(image, longest), size, image.info.get("exif", b"")


def check_support(photo_format: str) -> None:
    """Raise PHOTO_UNKNOWN_FORMAT for AVIF where Pillow was built without it."""
    if photo_format == "avif" and not features.check("avif"):
        raise BadInputError(
            Reason.PHOTO_UNKNOWN_FORMAT, "avif: the installed Pillow was built without AVIF"
        )


def _decode_jpeg(data: bytes, layout: JpegLayout, longest: int) -> Pixels:
    """Decode at the smallest scale that still covers the rendition."""
    if layout.components in (1, 3) and jpeg_colours(data, layout) is None:
        # Pillow supports rare subsampling (3x1, 4x4). Metadata is removed to avoid its warnings.
        with open_image(layout.without_metadata(data), "jpeg") as image:
            return shrunk_rgb(image, longest)
    width, height = fit(layout.width, layout.height, longest)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, min_width=width, min_height=height)
    except ValueError as error:
        if not is_padding(error):
            raise
        pixels = simplejpeg.decode_jpeg(data, min_width=width, min_height=height, strict=False)
    return pixels


def jpeg_colours(data: bytes, layout: JpegLayout) -> str | None:
    """The JPEG's colour space; None where the fast decoder does not support its subsampling."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):
        return None
    if (width, height) != (layout.width, layout.height):
        raise broken("jpeg", "two parsers read different sizes from its markers")
    return str(colours)


def is_padding(error: ValueError) -> bool:
    """Whether the decoder's first warning comes after the last block was decoded."""
    padding = _PADDED_END.search(str(error))
    return padding is not None and int(padding[1]) <= _MAX_PADDING


def _decode_slot(size: tuple[int, int] | None) -> AbstractContextManager[object]:
    """Serialize the decoding of large pictures, and of those of unknown size (AVIF)."""
    small = size is not None and size[0] * size[1] <= _HEAVY_PIXELS
    return nullcontext() if small else _heavy_decode


def check_size(photo_format: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise BadInputError(
            Reason.PHOTO_TOO_LARGE,
            f"{photo_format}: {width}x{height} pixels, expected at most {max_pixels} in all",
        )
    if min(width, height) < SMALLEST_SIDE:
        raise BadInputError(
            Reason.PHOTO_TOO_SMALL,
            f"{photo_format}: {width}x{height} pixels, expected sides of at least {SMALLEST_SIDE}",
        )


def decoder_failure(photo_format: str, error: Exception) -> BadInputError:
    """The BadInputError for a decoder's error, with a reason by the decoder's message."""
    message = " ".join(str(error).split())[:200] or type(error).__name__
    early = any(word in message.lower() for word in ("truncated", "premature end"))
    return (truncated if early else broken)(photo_format, message)
