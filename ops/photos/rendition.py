"""Makes the rendition of a photo: the only image that the stream and backfills compute from.

Owns the decision which JPEGs keep their coded data and which photos are encoded again. Does not
depend on where the bytes come from or are stored, nor on models. Equal bytes give equal
renditions.

A rendition is sRGB without a profile: a photo with another one is converted. Transparency is
composited over white, the background of listings.
"""

from hashlib import sha256
from typing import NamedTuple

import simplejpeg

from ops.errors import BadInputError, Reason
from ops.photos.blank import is_blank
from ops.photos.colour import conversion_of
from ops.photos.containers.reading import open_container
from ops.photos.decode import (
    Decoded,
    check_size,
    check_support,
    decode_container,
    decode_jpeg,
    decoder_failure,
    jpeg_colours,
    jpeg_space,
)
from ops.photos.formats import ALLOWED, format_name, sniff
from ops.photos.jpeg_markers import JpegLayout, read_jpeg
from ops.photos.orientation import UPRIGHT
from ops.photos.pixels import encode_jpeg, fit, resize, upright
from ops.types import PhotoNote, Rendition

LONGEST_SIDE = 640
THUMBNAIL_SIDE = 160
MAX_UNSCALED_PIXELS = 25_000_000
"""The default limit for formats without decoding at a smaller scale: telephones take 24 million
pixels, as HEIC, and decoding takes up to 16 bytes for each."""

MAX_KEPT_BYTES = 1_000_000
"""A 640x640 JPEG of pure noise at quality 100 is about this large; a larger one has useless data
and is encoded again."""

_QUALITY = 90
_THUMBNAIL_QUALITY = 80


class _Jpeg(NamedTuple):
    """A JPEG for the rendition."""

    data: bytes
    size: tuple[int, int]  # (width, height), upright
    source_size: tuple[int, int]  # (width, height), before orientation
    complete: bool = True  # False: the source lacks its end


def make_rendition(
    data: bytes,
    *,
    max_pixels: int,
    max_unscaled_pixels: int = MAX_UNSCALED_PIXELS,
    verify: bool = True,
) -> Rendition:
    """Make the rendition of a photo: an upright JPEG, longest side at most 640.

    An upright grey or YCbCr JPEG that is small enough keeps its coded data; anything else is
    encoded once. Threads run in parallel: the decoders release the GIL.

    Args:
        data: the photo's bytes as they were received.
        max_pixels: the limit of pixels, checked by the header before anything is decoded.
        max_unscaled_pixels: another limit, for photos that are not JPEGs: they can't be decoded at
            a smaller scale.
        verify: whether to decode a JPEG that keeps its coded data to its end. Pass False to save
            this decode where the caller decodes the whole rendition strictly at once, and calls
            again with True if that fails.

    Raises:
        BadInputError: PHOTO_*; nothing else is raised, whatever the bytes are.
    """
    if data == b"":
        raise BadInputError(Reason.PHOTO_EMPTY, "the photo has 0 bytes")
    photo_format = sniff(data)
    if photo_format is None:
        raise BadInputError(
            Reason.PHOTO_UNKNOWN_FORMAT,
            f"{format_name(data)}, {len(data)} bytes; expected {ALLOWED}",
        )
    try:
        jpeg = (
            _from_jpeg(data, max_pixels, verify=verify)
            if photo_format == "jpeg"
            else _from_container(data, photo_format, min(max_pixels, max_unscaled_pixels))
        )
    except BadInputError:
        raise
    except MemoryError as error:
        raise BadInputError(
            Reason.PHOTO_TOO_LARGE, f"{photo_format}: decoding ran out of memory"
        ) from error
    except Exception as error:
        raise decoder_failure(photo_format, error) from error
    return Rendition(
        photo_sha256=sha256(data).digest(),
        sha256=sha256(jpeg.data).digest(),
        data=jpeg.data,
        width=jpeg.size[0],
        height=jpeg.size[1],
        source_format=photo_format,
        source_width=jpeg.source_size[0],
        source_height=jpeg.source_size[1],
        source_bytes=len(data),
        note=_note(jpeg),
    )


def _note(jpeg: _Jpeg) -> PhotoNote | None:
    try:
        if is_blank(jpeg.data, *jpeg.size):
            return PhotoNote.PHOTO_BLANK
    except ValueError:  # kept without `verify`: the caller's own decode finds the damage
        return None
    return None if jpeg.complete else PhotoNote.PHOTO_INCOMPLETE


def make_thumbnail(rendition_data: bytes) -> bytes:
    """Make a JPEG of a rendition with longest side at most 160; never enlarged.

    Raises:
        BadInputError: PHOTO_TRUNCATED, PHOTO_BROKEN: the bytes are not a complete JPEG.
    """
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(rendition_data)
        size = fit(width, height, THUMBNAIL_SIDE)
        pixels = simplejpeg.decode_jpeg(rendition_data, min_width=size[0], min_height=size[1])
    except (ValueError, KeyError) as error:
        raise decoder_failure("jpeg", error) from error
    return encode_jpeg(resize(pixels, size), _THUMBNAIL_QUALITY)


def _from_jpeg(data: bytes, max_pixels: int, *, verify: bool) -> _Jpeg:
    layout = read_jpeg(data)
    source_size = (layout.width, layout.height)
    check_size("jpeg", source_size, max_pixels)
    stripped = _without_reencoding(data, layout, verify=verify)
    if stripped is not None:
        return _Jpeg(stripped, source_size, source_size)
    return _encoded(decode_jpeg(data, layout, longest=LONGEST_SIDE))


def _from_container(data: bytes, photo_format: str, max_pixels: int) -> _Jpeg:
    check_support(photo_format)
    container = open_container(data, photo_format)
    return _encoded(
        decode_container(container, photo_format, longest=LONGEST_SIDE, max_pixels=max_pixels)
    )


def _encoded(decoded: Decoded) -> _Jpeg:
    pixels = upright(resize(decoded.pixels, decoded.size), decoded.orientation)
    height, width, _ = pixels.shape
    return _Jpeg(
        *(encode_jpeg(pixels, _QUALITY), (width, height), decoded.source_size),
        complete=decoded.complete,
    )


def _without_reencoding(data: bytes, layout: JpegLayout, *, verify: bool) -> bytes | None:
    """The JPEG without its metadata; None where it must be encoded again.

    With `verify` that is also the case where its coded data does not decode without a warning.
    """
    small = max(layout.width, layout.height) <= LONGEST_SIDE
    if not (small and layout.plain and layout.orientation == UPRIGHT):
        return None
    if jpeg_colours(data, layout) not in ("Gray", "YCbCr"):
        return None
    conversion = conversion_of(layout.profile)
    if conversion is not None and conversion.mode == jpeg_space(layout):
        return None
    stripped = layout.without_metadata(data)
    if len(stripped) > MAX_KEPT_BYTES:
        return None
    if not verify:
        return stripped
    try:
        # Grey at 1/8 runs the whole entropy decoder, which detects damage, in half the time.
        simplejpeg.decode_jpeg(stripped, colorspace="GRAY", min_width=1, min_height=1, min_factor=8)
    except ValueError:
        return None
    return stripped
