"""Decodes source photos: JPEG by libjpeg-turbo, other formats by Pillow, at the smallest scale.

A rendition is decoded for the model in `ops/models/embed.py` (`prepare`).

Owns the size limits that are checked before anything is decoded. How much memory a photo takes is
estimated in `ops/photos/memory.py`; how many are decoded at once is up to the caller.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import simplejpeg
from PIL import Image, features

from ops.errors import BadInputError, Reason
from ops.photos.colour import conversion_of
from ops.photos.containers.png_chunks import completed_png
from ops.photos.formats import MIN_ROWS, Container, broken, enough_rows, truncated
from ops.photos.jpeg_markers import JpegLayout
from ops.photos.orientation import orientation_of
from ops.photos.pixels import (
    Pixels,
    fit,
    open_image,
    resize,
    rows_alike,
    shrunk_rgb,
)

SMALLEST_SIDE = 16

_PROBE = b"\x5a\x93\x1c\xe7\x66\xb8\x2f\xd1" * 64
_RESTARTING_PROBE = b"".join(b"\xff" + bytes([0xD0 + i % 8]) + _PROBE[:64] for i in range(64))
"""Coded data to continue a JPEG with: the rows in which it shows are not in the file."""


class Decoded(NamedTuple):
    """A decoded photo."""

    pixels: Pixels  # sRGB over white, at least of the size below; not yet upright
    size: tuple[int, int]  # (width, height), of the rendition before orientation
    source_size: tuple[int, int]  # (width, height), before orientation
    orientation: int  # 1..8
    complete: bool  # False: the file lacks its end


def decode_jpeg(data: bytes, layout: JpegLayout, *, longest: int) -> Decoded:
    """Decode a JPEG whose longest side becomes at most `longest`.

    Raises:
        BadInputError: PHOTO_TRUNCATED, less than MIN_ROWS of the rows are there.
        Exception: the decoder's; Pillow can't decode the photo either.
    """
    size = (layout.width, layout.height)
    if not layout.all_begun:
        raise truncated("jpeg", "the file ends before its last scan")
    pixels = _decode_strictly(data, layout, longest)
    complete = layout.complete
    if pixels is None:
        pixels, whole = _decode_leniently(data, layout, longest)
        complete = complete and whole
    return Decoded(pixels, fit(*size, longest), size, layout.orientation, complete)


def decode_container(
    container: Container, photo_format: str, *, longest: int, max_pixels: int
) -> Decoded:
    """Decode the first picture of a photo that is not a JPEG.

    Raises:
        BadInputError: PHOTO_TOO_LARGE or PHOTO_TOO_SMALL, before the pixels are decoded;
            PHOTO_TRUNCATED.
        Exception: the decoder's.
    """
    if container.size is not None:
        check_size(photo_format, container.size, max_pixels)
    try:
        return _decode_container(container, photo_format, longest, max_pixels)
    except Exception as error:
        # Only a PNG's pixels can be completed. The memory of the first attempt is freed before.
        failure = decoder_failure(photo_format, error)
        if photo_format != "png" or failure.reason is not Reason.PHOTO_TRUNCATED:
            raise
    return _decode_container(completed_png(container), photo_format, longest, max_pixels)


def check_support(photo_format: str) -> None:
    """Raise PHOTO_UNKNOWN_FORMAT for AVIF or HEIC where its decoder can't be loaded."""
    if photo_format == "avif" and not features.check("avif"):
        raise BadInputError(
            Reason.PHOTO_UNKNOWN_FORMAT, "AVIF: the installed Pillow was built without it"
        )
    if photo_format == "heic":
        try:
            import pillow_heif  # noqa: F401 - it is used where a HEIC is opened
        except ImportError as error:  # missing, or a library that it needs is
            raise BadInputError(
                Reason.PHOTO_UNKNOWN_FORMAT, f"HEIC: pillow-heif can't be loaded: {error}"
            ) from error


def jpeg_colours(data: bytes, layout: JpegLayout) -> str | None:
    """The JPEG's colour space; None where the fast decoder does not support its subsampling."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):
        return None
    if (width, height) != (layout.width, layout.height):
        raise broken("jpeg", "two parsers read different sizes from its markers")
    return str(colours)


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
    if isinstance(error, BadInputError):
        return error
    message = " ".join(str(error).split())[:200] or type(error).__name__
    early = any(word in message.lower() for word in ("truncated", "premature end"))
    return (truncated if early else broken)(photo_format, message)


def _decode_strictly(data: bytes, layout: JpegLayout, longest: int) -> Pixels | None:
    """Decode with the fast decoder; None where it does not support the JPEG, or warns."""
    if layout.components not in (1, 3):
        return None
    if not layout.plain:
        data = layout.decodable(data)
    if jpeg_colours(data, layout) is None:
        return None
    size = fit(layout.width, layout.height, longest)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, min_width=size[0], min_height=size[1])
    except ValueError:
        return None
    conversion = conversion_of(layout.profile)
    if conversion is not None and conversion.mode == jpeg_space(layout):
        image = Image.fromarray(resize(pixels, size))
        pixels = shrunk_rgb(image.convert(conversion.mode), longest, conversion)
    return pixels


def jpeg_space(layout: JpegLayout) -> str:
    """The colour space that a JPEG's profile must be for: "L", "RGB" or "CMYK"."""
    return {1: "L", 4: "CMYK"}.get(layout.components, "RGB")


def _decode_leniently(data: bytes, layout: JpegLayout, longest: int) -> tuple[Pixels, bool]:
    """Decode with Pillow, which ignores libjpeg's warnings; and whether all rows are there."""
    pixels = _decode_by_pillow(layout.decodable(data), layout, longest)
    probe = _RESTARTING_PROBE if layout.restarts else _PROBE
    other = _decode_by_pillow(layout.decodable(data, probe), layout, longest)
    block_rows = -(-16 * pixels.shape[0] // layout.height)  # at most 2x2 blocks of 8 rows
    rows = rows_alike(pixels, other, block_rows)
    if not enough_rows(rows, pixels.shape[0]):
        raise truncated(
            "jpeg", f"{rows:.1f} of {pixels.shape[0]} rows are there, expected {MIN_ROWS:.0%}"
        )
    return pixels, rows == pixels.shape[0]


def _decode_by_pillow(data: bytes, layout: JpegLayout, longest: int) -> Pixels:
    size = fit(layout.width, layout.height, longest)
    with open_image(data, "jpeg") as image:
        image.draft(None, size)
        return resize(shrunk_rgb(image, longest, conversion_of(layout.profile)), size)


def _decode_container(
    container: Container, photo_format: str, longest: int, max_pixels: int
) -> Decoded:
    with open_image(container.data, photo_format) as image:
        check_size(photo_format, image.size, max_pixels)
        info = image.info
        conversion = conversion_of(container.profile or info.get("icc_profile"))
        pixels = shrunk_rgb(image, longest, conversion)
        size = image.size
    orientation = container.orientation
    return Decoded(
        pixels=pixels,
        size=fit(*size, longest),
        source_size=size if container.size is None else container.size,
        orientation=_orientation(info) if orientation is None else orientation,
        complete=container.complete,
    )


def _orientation(info: Mapping[Any, Any]) -> int:
    """The orientation in what Pillow read of the container."""
    exif, xmp = info.get("exif") or b"", info.get("xmp") or b""
    return orientation_of(exif, xmp.encode() if isinstance(xmp, str) else xmp)
