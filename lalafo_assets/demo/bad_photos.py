"""Photo files that can't be used: the demo adds them to its ads, so that failures can be seen.

Owns what is wrong with each file. Does not depend on the failure reasons that the product reports.
"""

import io
import struct
import zlib
from types import MappingProxyType

import numpy as np
from PIL import Image

_SEED = 20180611


def corrupt_photos() -> MappingProxyType[str, bytes]:
    """Return all corrupt photos: file name -> bytes; the same at every call.

    `empty.jpg` has no bytes; `truncated.jpg` ends in the middle of its scan; `page.jpg` is HTML;
    `noise.jpg` is random; `lying.jpg` and `lying.png` claim 64,250 x 64,250 pixels in a few
    hundred bytes; `note.jpg` is text; `header_only.jpg` ends after its first marker; `drawing.svg`
    and `recent.jxl` are unsupported formats; `broken_body.png` has a valid header and an invalid
    body; `speck.png` is one pixel.
    """
    photo = _photo()
    return MappingProxyType(
        {
            "empty.jpg": b"",
            "truncated.jpg": photo[: len(photo) * 2 // 5],
            "header_only.jpg": photo[:20],
            "page.jpg": b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>",
            "noise.jpg": np.random.default_rng(_SEED).bytes(20_000),
            "lying.jpg": _lying_jpeg(photo, 64_250),
            "lying.png": _lying_png(64_250),
            "note.jpg": b"Hello, is this still available? Can you do 500?\n" * 40,
            "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
            "recent.jxl": b"\xff\x0a" + np.random.default_rng(_SEED).bytes(400),
            "broken_body.png": _broken_png(),
            "speck.png": _saved(Image.new("RGB", (1, 1)), "PNG"),
        }
    )


def _saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _photo() -> bytes:
    """Return a valid JPEG of 320 x 240 pixels, from which corrupt ones are made."""
    noise = np.random.default_rng(_SEED).integers(0, 256, (24, 32, 3), np.uint8)
    image = Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)
    return _saved(image, "JPEG")


def _lying_jpeg(photo: bytes, side: int) -> bytes:
    """Return the same coded data with a frame header that claims `side` x `side` pixels."""
    start = photo.index(b"\xff\xc0")  # baseline frame: marker, length, precision, height, width
    claimed = struct.pack(">HH", side, side)
    return photo[: start + 5] + claimed + photo[start + 9 :]


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _lying_png(side: int) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", b"\x78\x9c") + _chunk(b"IEND", b"")


def _broken_png() -> bytes:
    whole = _saved(Image.new("RGB", (120, 90), (20, 90, 160)), "PNG")
    body = whole.index(b"IDAT") + 4
    return whole[:body] + bytes(len(whole) - body - 16) + whole[-16:]
