"""Reads a photo's container without decoding it: format, size and orientation.

Owns the list of allowed formats. A file's name and content type are ignored. Does not depend on
pixels, Pillow or where the bytes came from. JPEG markers are parsed in `ops.photos.jpeg`.
"""

import re
import struct
from dataclasses import dataclass

from ops.errors import BadInputError, Reason

UPRIGHT = 1
"""Exif orientation 1: row 0 is the top, column 0 the left side."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_DECODED_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_AVIF_EXIF_ITEM = re.compile(rb"(infe\x02.{7})Exif", re.DOTALL)
_ORIENTATION_TAG = 0x0112
_EXIF_SHORT = 3


@dataclass(frozen=True, slots=True)
class Container:
    """The container of a photo that is not a JPEG."""

    format: str  # "png", "webp", "gif", "avif"
    size: tuple[int, int] | None  # (width, height), pixels; None: only the decoder knows it
    orientation: int | None  # 1..8; None: it is in the decoder's `info["exif"]`
    data: bytes  # the bytes to decode, without parts that decoders warn about or fail on


def sniff(data: bytes) -> str | None:
    """The format by the first bytes: "jpeg", "png", "webp", "gif", "avif"; None: not allowed.

    Looks at the first 32 bytes at most; with fewer a format may go unrecognised.
    """
    if data[:2] == b"\xff\xd8":
        return "jpeg"
    if data[:8] == _PNG_SIGNATURE:
        return "png"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, 32, 4))}
        return "avif" if brands & _AVIF_BRANDS else None
    return None


def open_container(data: bytes, photo_format: str) -> Container:
    """Read a PNG, WebP, GIF or AVIF container; nothing is decompressed.

    Raises:
        BadInputError: PHOTO_TRUNCATED, PHOTO_BROKEN.
    """
    readers = {"png": _read_png, "webp": _read_webp, "gif": _read_gif, "avif": _read_avif}
    try:
        return readers[photo_format](data)
    except (struct.error, IndexError) as error:  # a read past the end
        raise truncated(photo_format, "the file ends inside its header") from error


def exif_orientation(exif: bytes) -> int:
    """The orientation, 1..8, in an Exif block (a TIFF, with or without "Exif\\0\\0" before it).

    Anything that cannot be parsed counts as upright: the photo is still usable.
    """
    tiff = exif[6:] if exif[:6] == b"Exif\0\0" else exif
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                return int(value) if kind == _EXIF_SHORT and 1 <= value <= 8 else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT


def truncated(photo_format: str, detail: str) -> BadInputError:
    """The error for a file that ends too early."""
    return BadInputError(Reason.PHOTO_TRUNCATED, f"{photo_format}: {detail}")


def broken(photo_format: str, detail: str) -> BadInputError:
    """The error for a file that violates its format."""
    return BadInputError(Reason.PHOTO_BROKEN, f"{photo_format}: {detail}")


def _read_png(data: bytes) -> Container:
    """Walk the chunks and keep those that decoding needs.

    Text, profiles and animation are dropped without reading them: a zTXt or iCCP chunk may inflate
    a thousandfold, and Pillow warns about malformed acTL chunks.
    """
    if data[12:16] != b"IHDR":
        raise broken("png", "the first chunk is not IHDR")
    orientation = UPRIGHT
    chunks = [_PNG_SIGNATURE]
    start, kind = 8, b""
    while kind != b"IEND":
        (length,) = struct.unpack_from(">I", data, start)
        kind, end = data[start + 4 : start + 8], start + 12 + length
        if end > len(data):
            raise truncated("png", "a chunk runs past the end of the file")
        if kind in _PNG_DECODED_CHUNKS:
            chunks.append(data[start:end])
        elif kind == b"eXIf":
            orientation = exif_orientation(data[start + 8 : end - 4])
        start = end
    return Container("png", struct.unpack_from(">II", data, 16), orientation, b"".join(chunks))


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
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while (block := data[at]) != 0x2C:
        if block == 0x3B:
            raise broken("gif", "the file contains no image")
        at += 2 if block == 0x21 else 1
        while block == 0x21 and (length := data[at]) != 0:
            at += 1 + length
        at += block == 0x21
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
    size = (max(width, left + frame_width), max(height, top + frame_height))
    return Container("gif", size, UPRIGHT, data)


def _read_avif(data: bytes) -> Container:
    """Walk the top-level boxes; the size is left to the decoder, which parses without decoding.

    The Exif item is renamed in place: AVIF's `irot` and `imir` give the orientation, and Pillow's
    parser warns or fails on a broken Exif.
    """
    start, meta = 0, None
    while start < len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start + 8)
        end = len(data) if length == 0 else start + length
        if end > len(data):
            raise truncated("avif", "a box runs past the end of the file")
        if end < start + 8:
            raise broken("avif", "a box is shorter than its header")
        if kind == b"meta":
            meta = (start, end)
        start = end
    if meta is None:
        raise broken("avif", "the file has no meta box")
    cleaned = _AVIF_EXIF_ITEM.sub(rb"\1none", data[meta[0] : meta[1]])
    return Container("avif", None, None, data[: meta[0]] + cleaned + data[meta[1] :])
