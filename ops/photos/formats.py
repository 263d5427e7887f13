"""Which formats photos may have: recognises and names them by the first bytes.

Owns the list of allowed formats. A file's name and content type are ignored. Does not depend on
pixels, Pillow or where the bytes came from; the gateway uses it before it stores anything.
"""

import re
from dataclasses import dataclass

from ops.errors import BadInputError, Reason

ALLOWED = "JPEG, PNG, WebP, GIF, AVIF, HEIC, BMP or TIFF"
SNIFFED_BYTES = 512
"""Enough of a file's beginning for `sniff` and `format_name`."""

MIN_ROWS = 0.98
"""The share of a photo's rows that must be there where the file's end is missing. A row that is
partly there counts by its part."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFFS = (b"II*\0", b"MM\0*")
_BMP_HEADERS = frozenset(size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124))
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_NAMES_BY_PREFIX = (
    (b"\xff\xd8", "JPEG"),
    (_PNG_SIGNATURE, "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "a BigTIFF"),
    (b"MM\0+", "a BigTIFF"),
    (b"II\xbc", "a JPEG XR"),
    (b"IIRO", "an Olympus RAW photo"),
    (b"IIU\0", "a Panasonic RAW photo"),
    (b"FUJIFILM", "a Fujifilm RAW photo"),
    (b"\xff\n", "a JPEG XL"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"8BPS", "a PSD"),
    (b"8BPB", "a PSB"),
    (b"gimp xcf", "an XCF"),
    (b"\0\0\x01\0", "an ICO"),
    (b"\0\0\x02\0", "a CUR"),
    (b"icns", "an ICNS"),
    (b"qoif", "a QOI"),
    (b"DDS ", "a DDS"),
    (b"\x01\xda", "an SGI image"),
    (b"v/1\x01", "an OpenEXR"),
    (b"#?RADIANCE", "a Radiance HDR"),
    (b"\xd7\xcd\xc6\x9a", "a WMF"),
    (b"\xc5\xd0\xd3\xc6", "an EPS"),
    (b"%!PS", "PostScript"),
    (b"%PDF", "a PDF"),
    (b"AT&TFORM", "a DjVu"),
    (b"{\\rtf", "an RTF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xd0\xcf\x11\xe0", "an Office document"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"\0\0\x01\xba", "an MPEG video"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
)
_NAMES_BY_BRAND = {
    **{b"crx ": "a CR3", b"jxl ": "a JPEG XL", b"jp2 ": "a JPEG 2000"},
    **{b"qt  ": "a QuickTime video"},
    **{b"M4A ": "an M4A", b"vvic": "VVC in HEIF", b"evbi": "EVC in HEIF"},
}
_PNM = re.compile(rb"P[1-7][\s#]")
_SVG = re.compile(rb"<([a-z]+:)?svg[\s/>]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Container:
    """The container of a photo that is not a JPEG."""

    format: str  # "png", "webp", "gif", "avif", "heic", "bmp", "tiff"
    size: tuple[int, int] | None  # (width, height), pixels; None: only the decoder knows it
    orientation: int | None  # 1..8; None: it is in the decoder's `info`
    data: bytes  # the bytes to decode, without parts that decoders warn about or fail on
    profile: bytes | None = None  # ICC; None: it is in the decoder's `info`, if there is one
    complete: bool = True  # False: the file ends too early


def sniff(data: bytes) -> str | None:
    """The format by the first bytes; None: not allowed.

    Looks at the first 32 bytes at most; with fewer a format may go unrecognised.

    Returns: "jpeg", "png", "webp", "gif", "avif", "heic", "bmp", "tiff".
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
        brands = _brands(data)
        if brands & _AVIF_BRANDS:
            return "avif"
        return "heic" if brands & _HEIC_BRANDS else None
    if data[:2] == b"BM" and data[14:18] in _BMP_HEADERS:  # text may begin with BM
        return "bmp"
    return "tiff" if data[:4] in _TIFFS else None


def format_name(data: bytes) -> str:
    """What a file is, as far as its first SNIFFED_BYTES show: "HEIC", "a PDF", "a program", …."""
    head = data[:SNIFFED_BYTES]
    for prefix, name in _NAMES_BY_PREFIX:
        if head.startswith(prefix):
            return name
    if sniff(head) == "bmp":
        return "BMP"
    if head[4:8] == b"ftyp":
        allowed = {"avif": "AVIF", "heic": "HEIC"}.get(sniff(head) or "")
        return allowed or _NAMES_BY_BRAND.get(head[8:12], "an MP4 video, or similar")
    if head[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"AVI ": "an AVI video", b"WAVE": "a WAV"}.get(head[8:12], "RIFF")
    if _PNM.match(head):
        return "a PNM"
    return _text_name(head)


def _text_name(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<"):
        if _SVG.search(text):
            return "an SVG"
        return "HTML" if b"<html" in text or text.startswith(b"<!doctype html") else "XML or HTML"
    if text.startswith((b"{", b"[")):
        return "JSON"
    if len(text) >= 16 and all(byte >= 32 or byte in b"\t\r\n\f" for byte in text):
        return "text"
    return "an unknown format"


def _brands(data: bytes) -> set[bytes]:
    return {data[8:12], *(data[i : i + 4] for i in range(16, 32, 4))}


def enough_rows(there: float, expected: float) -> bool:
    """Whether a photo whose end is missing can be used."""
    return there >= MIN_ROWS * expected


def truncated(photo_format: str, detail: str) -> BadInputError:
    """The error for a file that ends too early."""
    return BadInputError(Reason.PHOTO_TRUNCATED, f"{photo_format}: {detail}")


def broken(photo_format: str, detail: str) -> BadInputError:
    """The error for a file that violates its format."""
    return BadInputError(Reason.PHOTO_BROKEN, f"{photo_format}: {detail}")
