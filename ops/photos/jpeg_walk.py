"""Walks the markers of a JPEG (ITU-T T.81, annex B) from its start to its end of image."""

import re
import struct
from typing import NamedTuple

from ops.errors import BadInputError, Reason
from ops.photos.formats import broken

MAX_SCANS = 64
"""Encoders write about ten; decoding thousands of empty progressive scans would take hours."""

MAX_MARKERS = 10_000
"""Photos have tens, with profiles and previews hundreds; a file of markers alone has millions."""

_SOI, _EOI, _SOS, _DNL, _DRI, _COM = 0xD8, 0xD9, 0xDA, 0xDC, 0xDD, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_EXIF, _XMP, _PROFILE = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_DCT_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive
PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_LOSSLESS_FRAMES = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_STANDALONE = frozenset({0x01, _SOI, *range(0xD0, 0xD8)})
_FILL = re.compile(rb"\xff+")
_AFTER_ENTROPY = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # no stuffed byte, fill or restart marker


class FrameHeader(NamedTuple):
    """A frame header."""

    marker: int
    precision: int  # bits per sample
    height: int
    width: int
    components: int


class MarkerWalk:
    """One pass over the markers."""

    def __init__(self, data: bytes, *, header_only: bool = False) -> None:
        self.data = data
        self.header_only = header_only
        self.at = 2
        self.markers = 0
        self.plain = True
        self.complete = False
        self.restarts = False
        self.frame: FrameHeader | None = None
        self.ids = b""  # of the frame's components
        self.sampling = b""  # of each component: horizontal and vertical, 4 bits each
        self.scans: list[bytes] = []  # headers, without marker and length
        self.exif = b""
        self.xmp = b""
        self.profile: list[bytes] = []
        self.colours: list[slice] = []
        self.picture: list[slice] = []

    def step(self) -> bool:
        """Read the next marker; False at the end of the image."""
        start = self.data.find(b"\xff", self.at)
        if start < 0:
            raise IndexError
        self.markers += 1
        if self.markers > MAX_MARKERS:
            raise broken("jpeg", f"more than {MAX_MARKERS} markers")
        fill = _FILL.match(self.data, start)
        assert fill is not None, "a marker begins with this byte"
        self.plain &= start == self.at and fill.end() == start + 1
        start = fill.end() - 1
        marker = self.data[start + 1]
        if marker == _EOI:
            self.complete = True
            return False
        if marker == 0x00 or marker in _STANDALONE:  # nothing of use
            self.plain = False
            self.at = start + 2
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
            if self.scans == [] and not self.header_only:
                self._metadata(marker, part)
            return
        if marker in _FRAMES:
            self._frame(marker, part)
        elif marker == _SOS:
            self.scans.append(self._scan(part))
            if self.header_only:
                return
            part = slice(part.start, self._end_of_scan(part.stop))
        elif marker == _DRI:
            self.restarts = True
        elif marker == _DNL:
            self.plain = False
        self.picture.append(part)

    def _metadata(self, marker: int, part: slice) -> None:
        start = part.start + 4
        if marker == _APP1:
            if self.data.startswith(_EXIF, start):
                self.exif = self.exif or self.data[start : part.stop]
            elif self.data.startswith(_XMP, start):
                self.xmp = self.data[start + len(_XMP) : part.stop]
        elif marker == _APP2 and self.data.startswith(_PROFILE, start):
            self.profile.append(self.data[start + len(_PROFILE) : part.stop])
        elif marker in (_APP0, _APP14) and self.data.startswith((b"JFIF\0", b"Adobe"), start):
            self.colours.append(part)

    def _frame(self, marker: int, part: slice) -> None:
        if self.frame is not None:
            raise broken("jpeg", "the file has two frames")
        self.frame = FrameHeader(marker, *struct.unpack_from(">BHHB", self.data, part.start + 4))
        self.plain &= marker in _HUFFMAN_DCT_FRAMES
        if self.frame.precision != 8 or marker in _LOSSLESS_FRAMES:
            kind = "lossless" if marker in _LOSSLESS_FRAMES else f"{self.frame.precision}-bit"
            raise BadInputError(
                Reason.PHOTO_UNKNOWN_FORMAT, f"{kind} JPEG; expected 8 bits per sample, lossy"
            )
        self.ids = self.data[part.start + 10 : part.stop : 3]
        self.sampling = self.data[part.start + 11 : part.stop : 3]

    def _scan(self, part: slice) -> bytes:
        if len(self.scans) >= MAX_SCANS:
            raise broken("jpeg", f"more than {MAX_SCANS} scans")
        if self.frame is None:
            raise broken("jpeg", "a scan without a frame")
        header = self.data[part.start + 4 : part.stop]
        if len(header) < 4 or len(header) < 4 + 2 * header[0]:
            raise broken("jpeg", "a scan's header is too short")
        return header

    def _end_of_scan(self, start: int) -> int:
        following = _AFTER_ENTROPY.search(self.data, start)
        if following is None:
            self.at = len(self.data)
            return self.at - self.data.endswith(b"\xff")  # the file ends within a marker
        self.at = following.end() - 2
        return self.at

    def all_begun(self) -> bool:
        """Whether there is a scan for each bit of every coefficient."""
        left = dict.fromkeys(((c, k) for c in self.ids for k in range(64)), 16)
        progressive = self.frame is not None and self.frame.marker in PROGRESSIVE_FRAMES
        for header in self.scans:
            n = header[0]
            first, last, bits = header[1 + 2 * n : 4 + 2 * n] if progressive else (0, 63, 0)
            for component in header[1 : 1 + 2 * n : 2]:
                left.update(
                    dict.fromkeys(((component, k) for k in range(first, last + 1)), bits & 15)
                )
        return not any(left.values())
