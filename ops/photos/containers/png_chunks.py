"""Reads a PNG's chunks, and completes a PNG that lacks its end.

Keeps the chunks that decoding needs. Profile, orientation and size are read here, with limits: a
zTXt or iCCP chunk may inflate a thousandfold, and Pillow warns about malformed acTL chunks.
"""

import struct
import zlib
from dataclasses import dataclass, field, replace

from ops.photos.colour import MAX_PROFILE_BYTES
from ops.photos.formats import MIN_ROWS, Container, broken, enough_rows, truncated
from ops.photos.orientation import orientation_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_MAX_TEXT_BYTES = 1_000_000
_MAX_CHUNKS = 100_000
"""Some encoders put each row of the pixels into a chunk."""
_GREY, _RGB = 0, 2
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by colour type
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""The interlaced passes: first column and row, steps between columns and rows."""


@dataclass
class _Chunks:
    """The chunks of one PNG."""

    kept: list[bytes] = field(default_factory=list)  # whole chunks, without IEND
    exif: bytes = b""
    texts: dict[bytes, tuple[bool, bytes]] = field(default_factory=dict)  # is it compressed, text
    profile: bytes | None = None  # compressed
    complete: bool = False  # the file has its end marker


def read_png(data: bytes) -> Container:
    """Read a PNG; a file that ends within or after its pixels is read up to there.

    Raises:
        BadInputError: PHOTO_TRUNCATED, PHOTO_BROKEN.
    """
    if data[12:16] != b"IHDR":
        raise broken("png", "the first chunk is not IHDR")
    size = struct.unpack_from(">II", data, 16)
    chunks = _walk(data)
    xmp = _text(chunks, b"XML:com.adobe.xmp")
    orientation = orientation_of(chunks.exif or _raw_profile(chunks), xmp)
    profile = chunks.profile
    return Container(
        *("png", size, orientation, _png(chunks.kept)),
        profile=None if profile is None else _inflated(profile, MAX_PROFILE_BYTES + 1),
        complete=chunks.complete,
    )


def completed_png(container: Container) -> Container:
    """The PNG with its missing rows as black pixels, as Pillow shows them.

    Raises:
        BadInputError: PHOTO_TRUNCATED, less than MIN_ROWS of the rows are there.
    """
    kept = _walk(container.data).kept
    pixels = b"".join(chunk[8:-4] for chunk in kept if chunk[4:8] == b"IDAT")
    expected = _n_bytes(kept[0][8:-4])
    inflated = _inflated(pixels, expected)
    if not enough_rows(len(inflated), expected):
        raise truncated(
            "png",
            f"{len(inflated)} of {expected} bytes of pixels are there, expected {MIN_ROWS:.0%}",
        )
    packer = zlib.compressobj(1)
    parts = (packer.compress(inflated), packer.compress(bytes(expected - len(inflated))))
    whole = b"".join((*parts, packer.flush()))
    others = [chunk for chunk in kept if chunk[4:8] != b"IDAT"]
    return replace(container, data=_png([*others, _chunk(b"IDAT", whole)]), complete=False)


def _walk(data: bytes) -> _Chunks:
    chunks, start, n_chunks = _Chunks(), 8, 0
    while start + 8 <= len(data):
        n_chunks += 1
        if n_chunks > _MAX_CHUNKS:
            raise broken("png", f"more than {_MAX_CHUNKS} chunks")
        (length,) = struct.unpack_from(">I", data, start)
        kind, end = data[start + 4 : start + 8], start + 12 + length
        if kind == b"IEND":
            chunks.complete = end <= len(data)
            break
        if end > len(data):
            if kind == b"IDAT":
                chunks.kept.append(_chunk(kind, data[start + 8 : end - 4]))
            break
        if kind == b"tRNS":
            chunks.kept.append(_scaled_transparency(data[start:end], data[24:26]))
        elif kind in _KEPT:
            chunks.kept.append(data[start:end])
        else:
            _add(chunks, kind, data[start + 8 : end - 4])
        start = end
    if not chunks.complete and not any(chunk[4:8] == b"IDAT" for chunk in chunks.kept):
        raise truncated("png", "the file ends before its pixels")
    return chunks


def _add(chunks: _Chunks, kind: bytes, body: bytes) -> None:
    if kind == b"eXIf":
        chunks.exif = body
    elif kind == b"iCCP":
        chunks.profile = body.partition(b"\0")[2][1:]
    elif kind in _TEXTS:
        _add_text(chunks, kind, body)


def _add_text(chunks: _Chunks, kind: bytes, body: bytes) -> None:
    """Keep a text chunk that may have an orientation. https://www.w3.org/TR/png-3/#11textinfo"""
    key, _, rest = body.partition(b"\0")
    if key not in (b"XML:com.adobe.xmp", b"Raw profile type exif"):
        return
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]
    chunks.texts[key] = (packed, rest)


def _text(chunks: _Chunks, key: bytes) -> bytes:
    packed, text = chunks.texts.get(key, (False, b""))
    return _inflated(text, _MAX_TEXT_BYTES) if packed else text


def _raw_profile(chunks: _Chunks) -> bytes:
    """The Exif block that ImageMagick writes as a text: hexadecimal below three lines."""
    lines = _text(chunks, b"Raw profile type exif").split(b"\n")[3:]
    try:
        return bytes.fromhex(b"".join(lines).decode("ascii"))
    except ValueError:
        return b""


def _inflated(packed: bytes, max_bytes: int) -> bytes:
    """The first bytes of a zlib stream; what precedes damage, where it is damaged."""
    unpacker = zlib.decompressobj()
    out = bytearray()
    try:
        for start in range(0, len(packed), 65_536):
            out += unpacker.decompress(packed[start : start + 65_536], max_bytes - len(out))
            if len(out) >= max_bytes or unpacker.eof:
                break
    except zlib.error:
        pass
    return bytes(out)


def _n_bytes(header: bytes) -> int:
    """The bytes of all filtered rows, by an IHDR chunk's body."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -((left - width) // across), -((top - height) // down)
        bits = columns * depth * _SAMPLES.get(colour, 1)
        total += rows * (1 + (bits + 7) // 8) if columns > 0 else 0
    return total


def _scaled_transparency(chunk: bytes, depth_and_colour: bytes) -> bytes:
    """The transparent colour on the scale of the 8-bit samples that Pillow compares it with."""
    depth, colour = depth_and_colour
    if colour == _GREY and depth in (2, 4):
        (value,) = struct.unpack_from(">H", chunk, 8)
        return _chunk(b"tRNS", struct.pack(">H", value * 255 // (2**depth - 1)))
    if colour == _RGB and depth == 16:
        red, _, green, _, blue, _ = chunk[8:14]
        return _chunk(b"tRNS", struct.pack(">HHH", red, green, blue))
    return chunk


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)))


def _png(chunks: list[bytes]) -> bytes:
    return b"".join((SIGNATURE, *chunks, _chunk(b"IEND", b"")))
