"""Parses a JPEG's markers: its size and orientation, and which segments are metadata.

Owns the removal of metadata from a JPEG without decoding it. Does not depend on pixels. Markers
are those of ITU-T T.81, annex B.
"""

import re
import struct
from dataclasses import dataclass

from ops.errors import BadInputError, Reason
from ops.photos.formats import UPRIGHT, broken, exif_orientation, truncated

MAX_SCANS = 64
"""Encoders write about ten; decoding thousands of empty progressive scans would take hours."""

_SOI, _EOI, _SOS, _DNL, _COM = 0xD8, 0xD9, 0xDA, 0xDC, 0xFE
_APP0, _APP1, _APP15 = 0xE0, 0xE1, 0xEF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_DCT_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive
_STANDALONE = frozenset({0x01, _SOI, *range(0xD0, 0xD8)})
_AFTER_ENTROPY = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # no stuffed byte, fill or restart marker

_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
"""Version 1.1, square pixels, no thumbnail; it also marks the colours as YCbCr for decoders."""


@dataclass(frozen=True, slots=True)
class JpegLayout:
    """The contents of a JPEG's markers, up to the first end of image."""

    width: int  # pixels, before orientation
    height: int
    precision: int  # bits per sample
    components: int
    orientation: int  # 1..8, from the first Exif segment
    progressive: bool  # or several scans: a decoder keeps all coefficients in memory
    plain: bool  # Huffman-coded DCT, one frame, no bytes between the segments
    picture: tuple[slice, ...]  # the segments that decoding needs, including the scans

    def without_metadata(self, data: bytes) -> bytes:
        """The same coded picture after a plain JFIF header; only valid for grey and YCbCr."""
        return b"".join([b"\xff\xd8", _JFIF, *(data[part] for part in self.picture), b"\xff\xd9"])


def read_jpeg(data: bytes) -> JpegLayout:
    """Walk the markers from start to end of image; bytes after that are ignored.

    Raises:
        BadInputError: PHOTO_TRUNCATED, PHOTO_BROKEN, PHOTO_UNKNOWN_FORMAT (not 8 bits per sample).
    """
    walk = _Walk(data)
    try:
        while walk.step():
            pass
    except (struct.error, IndexError) as error:  # a read past the end
        raise truncated("jpeg", "the file ends before its end-of-image marker") from error
    return walk.layout()


class _Walk:
    """One pass over the markers."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 2
        self.scans = 0
        self.plain = True
        self.progressive = False
        self.frame: tuple[int, int, int, int] | None = None  # precision, height, width, components
        self.orientation: int | None = None
        self.picture: list[slice] = []

    def step(self) -> bool:
        """Read the next marker; False at the end of the image."""
        start = self.data.find(b"\xff", self.at)
        if start < 0:
            raise IndexError
        self.plain &= start == self.at
        marker = self.data[start + 1]
        if marker == _EOI:
            return False
        if marker in (0x00, 0xFF) or marker in _STANDALONE:  # fill bytes, or nothing of use
            self.plain &= marker == 0xFF
            self.at = start + (1 if marker == 0xFF else 2)
            return True
        (length,) = struct.unpack_from(">H", self.data, start + 2)
        self.at = start + 2 + length
        if length < 2:
            raise broken("jpeg", "a segment is shorter than its own length field")
        if self.at > len(self.data):
            raise IndexError
        self._segment(marker, slice(start, self.at))
        return True

    def _segment(self, marker: int, part: slice) -> None:
        if marker == _COM or _APP0 <= marker <= _APP15:
            if marker == _APP1 and self.orientation is None:
                body = self.data[part.start + 4 : part.stop]
                self.orientation = exif_orientation(body) if body[:6] == b"Exif\0\0" else None
            return
        if marker in _FRAMES:
            if self.frame is not None:
                raise broken("jpeg", "the file has two frames")
            self.frame = struct.unpack_from(">BHHB", self.data, part.start + 4)
            self.plain &= marker in _HUFFMAN_DCT_FRAMES
            self.progressive = marker not in (0xC0, 0xC1)
        elif marker == _SOS:
            part = slice(part.start, self._end_of_scan(part.stop))
        elif marker == _DNL:
            self.plain = False
        self.picture.append(part)

    def _end_of_scan(self, start: int) -> int:
        self.scans += 1
        if self.scans > MAX_SCANS:
            raise broken("jpeg", f"more than {MAX_SCANS} scans")
        following = _AFTER_ENTROPY.search(self.data, start)
        if following is None:
            raise IndexError
        self.at = following.end() - 2
        return self.at

    def layout(self) -> JpegLayout:
        if self.frame is None or self.scans == 0:
            raise broken("jpeg", "the file contains no image")
        precision, height, width, components = self.frame
        if precision != 8:
            raise BadInputError(
                Reason.PHOTO_UNKNOWN_FORMAT, f"jpeg: {precision} bits per sample, expected 8"
            )
        return JpegLayout(
            width=width,
            height=height,
            precision=precision,
            components=components,
            orientation=UPRIGHT if self.orientation is None else self.orientation,
            progressive=self.progressive or self.scans > 1,
            plain=self.plain,
            picture=tuple(self.picture),
        )
