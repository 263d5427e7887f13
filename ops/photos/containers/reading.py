"""Reads the container of a photo that is not a JPEG: size, orientation, profile; without decoding.

WebP, GIF and BMP are read here; the other modules read the others.
"""

import re
import struct
from collections.abc import Callable

from ops.errors import BadInputError
from ops.photos.containers.iso_boxes import largest_picture, read_iso
from ops.photos.containers.png_chunks import read_png
from ops.photos.containers.tiff_directory import page_size, read_tiff
from ops.photos.formats import Container, broken, truncated
from ops.photos.orientation import UPRIGHT

_GIF_FRAME, _GIF_END = 0x2C, 0x3B
_GIF_BLOCK = re.compile(rb"[\x21\x2c\x3b]")
_MAX_GIF_BLOCKS = 50_000
"""Comments and XMP are in blocks of up to 255 bytes."""


def open_container(data: bytes, photo_format: str) -> Container:
    """Read a container; pixels are not decompressed.

    Raises:
        BadInputError: PHOTO_TRUNCATED, PHOTO_BROKEN.
    """
    readers: dict[str, Callable[[bytes], Container]] = {
        **{"png": read_png, "webp": _read_webp, "gif": _read_gif, "bmp": _read_bmp},
        **{"tiff": read_tiff},
    }
    try:
        if photo_format in readers:
            return readers[photo_format](data)
        return read_iso(data, photo_format)
    except (struct.error, IndexError) as error:  # a read past the end
        raise truncated(photo_format, "the file ends inside its header") from error


def read_size(data: bytes, photo_format: str) -> tuple[int, int] | None:
    """The size, (width, height), by the header alone; None where it can't be read."""
    try:
        if photo_format in ("avif", "heic"):
            return largest_picture(data, photo_format)
        if photo_format == "png":
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        if photo_format == "tiff":
            return page_size(data)
        return open_container(data, photo_format).size
    except (struct.error, IndexError, BadInputError):
        return None


def _read_webp(data: bytes) -> Container:
    """Read the size from the first chunk, and the length of the file from the RIFF header.

    Container: https://developers.google.com/speed/webp/docs/riff_container
    """
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    if riff_bytes + 8 > len(data):
        raise truncated("webp", f"expected {riff_bytes + 8} bytes, got {len(data)}")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    else:
        raise broken("webp", "the first chunk is not an image")
    return Container("webp", (width, height), None, data)


def _read_gif(data: bytes) -> Container:
    """Read the size that the first frame needs: the screen, or more if the frame exceeds it.

    GIF89a: https://www.w3.org/Graphics/GIF/spec-gif89a.txt
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = _frame_of_gif(data, 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0))
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
    size = (max(width, left + frame_width), max(height, top + frame_height))
    return Container("gif", size, UPRIGHT, data)


def _frame_of_gif(data: bytes, at: int) -> int:
    """Where the first frame begins, at or after `at`: extensions and stray bytes are skipped."""
    in_extension = False
    for _ in range(_MAX_GIF_BLOCKS):
        if in_extension:
            in_extension = data[at] != 0
            at += 1 + data[at]
            continue
        found = _GIF_BLOCK.search(data, at)
        if found is None:
            raise IndexError
        at = found.start()
        if data[at] == _GIF_END:
            raise broken("gif", "the file contains no image")
        if data[at] == _GIF_FRAME:
            return at
        in_extension = True
        at += 2
    raise broken("gif", f"more than {_MAX_GIF_BLOCKS} blocks before its first frame")


def _read_bmp(data: bytes) -> Container:
    """Read the size from the header; a negative height means that the first row is the top.

    https://learn.microsoft.com/windows/win32/api/wingdi/ns-wingdi-bitmapv5header
    """
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)
    if width < 0:
        raise broken("bmp", "a negative width")
    return Container("bmp", (width, abs(height)), UPRIGHT, data)
