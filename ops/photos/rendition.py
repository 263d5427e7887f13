"""From a photo's bytes to its rendition: the only bytes that stream and backfill compute from.

Decides what is kept as it came and what is encoded again; refuses to know where the bytes came
from, where they go, and models. Equal bytes give equal renditions.

Colour profiles are dropped, not applied: applying one would mean encoding every such photo again,
and training sees the same renditions, so nothing disagrees. Transparency goes over white, the
background that listings are shown on.
"""

import re
import threading
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from typing import NamedTuple

import simplejpeg
from PIL import features

from ops.errors import BadInputError, Reason
from ops.photos.formats import UPRIGHT, broken, exif_orientation, open_container, sniff, truncated
from ops.photos.jpeg import JpegLayout, read_jpeg
from ops.photos.pixels import Pixels, encode_jpeg, fit, open_image, resize, shrunk_rgb, upright
from ops.types import Rendition

LONGEST_SIDE = 640
THUMBNAIL_SIDE = 160
SMALLEST_SIDE = 16
MAX_KEPT_BYTES = 1_000_000
"""A 640x640 JPEG of pure noise at quality 100 is about this large; what is larger is ballast."""

_QUALITY = 90
_THUMBNAIL_QUALITY = 80

_HEAVY_PIXELS = 8_000_000
_heavy_decode = threading.Lock()
"""One large picture at a time where decoding holds all of it, at up to 16 bytes a pixel (WebP)."""

_PADDED_END = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MAX_PADDING = 64
"""Bytes that some cameras leave before the end marker; the picture before them is complete."""


class _Made(NamedTuple):
    data: bytes
    size: tuple[int, int]  # (width, height), upright
    source_size: tuple[int, int]  # (width, height), before orientation


def make_rendition(data: bytes, *, max_pixels: int, proven: bool = True) -> Rendition:
    """The upright JPEG, longest side at most 640, that is stored for a photo.

    An upright grey or YCbCr JPEG that is small enough keeps its coded data; anything else is
    encoded once. Threads run in parallel here: the decoders release the interpreter's lock.

    Args:
        data: the photo's bytes as they came.
        max_pixels: more, by the header and before anything is decoded, is refused.
        proven: False where the caller decodes the rendition at once, all of it and strictly, and
            comes back with True where that fails: it saves a decode of what is kept as it came.

    Raises BadInputError (PHOTO_*), and nothing else whatever the bytes are.
    """
    if data == b"":
        raise BadInputError(Reason.PHOTO_EMPTY, "0 bytes came")
    photo_format = sniff(data)
    if photo_format is None:
        raise BadInputError(
            Reason.PHOTO_UNKNOWN_FORMAT,
            f"{len(data)} bytes that are no JPEG, PNG, WebP, GIF or AVIF",
        )
    try:
        made = (
            _from_jpeg(data, max_pixels, proven=proven)
            if photo_format == "jpeg"
            else _from_container(data, photo_format, max_pixels)
        )
    except BadInputError:
        raise
    except MemoryError as error:
        raise BadInputError(
            Reason.PHOTO_TOO_LARGE, f"{photo_format}: decoding ran out of memory"
        ) from error
    except Exception as error:
        raise _decoder_failure(photo_format, error) from error
    return Rendition(
        photo_sha256=sha256(data).digest(),
        sha256=sha256(made.data).digest(),
        data=made.data,
        width=made.size[0],
        height=made.size[1],
        source_format=photo_format,
        source_width=made.source_size[0],
        source_height=made.source_size[1],
        source_bytes=len(data),
    )


def make_thumbnail(rendition_data: bytes) -> bytes:
    """A JPEG of a rendition with longest side at most 160; never enlarged.

    Raises BadInputError (PHOTO_TRUNCATED, PHOTO_BROKEN) if the bytes are no whole JPEG.
    """
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(rendition_data)
        size = fit(width, height, THUMBNAIL_SIDE)
        pixels = simplejpeg.decode_jpeg(rendition_data, min_width=size[0], min_height=size[1])
    except (ValueError, KeyError) as error:
        raise _decoder_failure("jpeg", error) from error
    return encode_jpeg(resize(pixels, size), _THUMBNAIL_QUALITY)


def _from_jpeg(data: bytes, max_pixels: int, *, proven: bool) -> _Made:
    layout = read_jpeg(data)
    source_size = (layout.width, layout.height)
    _check_size("jpeg", source_size, max_pixels)
    kept = _kept(data, layout, proven=proven)
    if kept is not None:
        return _Made(kept, source_size, source_size)
    with _in_turn(source_size) if layout.progressive else nullcontext():
        pixels = _decode_jpeg(data, layout)
    return _encoded(pixels, source_size, layout.orientation)


def _from_container(data: bytes, photo_format: str, max_pixels: int) -> _Made:
    if photo_format == "avif" and not features.check("avif"):
        raise BadInputError(Reason.PHOTO_UNKNOWN_FORMAT, "avif: this Pillow was built without it")
    container = open_container(data, photo_format)
    if container.size is not None:
        _check_size(photo_format, container.size, max_pixels)
    with _in_turn(container.size), open_image(container.data, photo_format) as image:
        _check_size(photo_format, image.size, max_pixels)
        source_size = image.size
        pixels = shrunk_rgb(image, LONGEST_SIDE)
        exif = image.info.get("exif", b"")
    orientation = container.orientation
    return _encoded(
        pixels, source_size, exif_orientation(exif) if orientation is None else orientation
    )


def _encoded(pixels: Pixels, source_size: tuple[int, int], orientation: int) -> _Made:
    pixels = upright(resize(pixels, fit(*source_size, LONGEST_SIDE)), orientation)
    height, width, _ = pixels.shape
    return _Made(encode_jpeg(pixels, _QUALITY), (width, height), source_size)


def _kept(data: bytes, layout: JpegLayout, *, proven: bool) -> bytes | None:
    """The JPEG without its metadata, if it can stay as it is; if asked, proven to decode to its
    end."""
    small = max(layout.width, layout.height) <= LONGEST_SIDE
    if not (small and layout.plain and layout.orientation == UPRIGHT):
        return None
    if _colours(data, layout) not in ("Gray", "YCbCr"):
        return None
    kept = layout.without_metadata(data)
    if len(kept) > MAX_KEPT_BYTES:
        return None
    if not proven:
        return kept
    try:
        # Grey at an eighth runs the whole entropy decoder, where damage shows, at half the price.
        simplejpeg.decode_jpeg(kept, colorspace="GRAY", min_width=1, min_height=1, min_factor=8)
    except ValueError as error:
        if _is_padding(error):
            return None
        raise
    return kept


def _decode_jpeg(data: bytes, layout: JpegLayout) -> Pixels:
    """Decode at the smallest scale that still covers the rendition."""
    if layout.components in (1, 3) and _colours(data, layout) is None:
        # Rare subsampling (3x1, 4x4): Pillow takes it. Without metadata, so that nothing warns.
        with open_image(layout.without_metadata(data), "jpeg") as image:
            return shrunk_rgb(image, LONGEST_SIDE)
    width, height = fit(layout.width, layout.height, LONGEST_SIDE)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, min_width=width, min_height=height)
    except ValueError as error:
        if not _is_padding(error):
            raise
        pixels = simplejpeg.decode_jpeg(data, min_width=width, min_height=height, strict=False)
    return pixels


def _colours(data: bytes, layout: JpegLayout) -> str | None:
    """The JPEG's colour space, or None where the fast decoder can't take its subsampling."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):
        return None
    if (width, height) != (layout.width, layout.height):
        raise broken("jpeg", "its markers can be read in two ways")
    return str(colours)


def _is_padding(error: ValueError) -> bool:
    """Whether the decoder's first complaint comes after the last block was decoded."""
    found = _PADDED_END.search(str(error))
    return found is not None and int(found[1]) <= _MAX_PADDING


def _in_turn(size: tuple[int, int] | None) -> AbstractContextManager[object]:
    """Wait for one's turn if the picture is large, or its size unknown before decoding (AVIF)."""
    small = size is not None and size[0] * size[1] <= _HEAVY_PIXELS
    return nullcontext() if small else _heavy_decode


def _check_size(photo_format: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise BadInputError(
            Reason.PHOTO_TOO_LARGE,
            f"{photo_format}: {width}x{height} pixels; at most {max_pixels} in all are read",
        )
    if min(width, height) < SMALLEST_SIDE:
        raise BadInputError(
            Reason.PHOTO_TOO_SMALL,
            f"{photo_format}: {width}x{height} pixels; a side needs {SMALLEST_SIDE} at least",
        )


def _decoder_failure(photo_format: str, error: Exception) -> BadInputError:
    """The reason behind a decoder's own words."""
    said = " ".join(str(error).split())[:200] or type(error).__name__
    early = any(word in said.lower() for word in ("truncated", "premature end"))
    return (truncated if early else broken)(photo_format, said)
