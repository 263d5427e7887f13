"""Parses a JPEG's markers: size, orientation, profile, scans, and which segments are metadata.

Owns the removal of metadata from a JPEG without decoding it. Does not depend on pixels.
"""

import struct
from typing import NamedTuple

from ops.errors import BadInputError
from ops.photos.formats import broken, truncated
from ops.photos.jpeg_walk import PROGRESSIVE_FRAMES, MarkerWalk
from ops.photos.orientation import orientation_of

_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
"""Version 1.1, square pixels, no thumbnail; it also marks the colours as YCbCr for decoders."""


class Frame(NamedTuple):
    """What a frame's and a first scan's headers say about the cost of decoding."""

    width: int  # pixels, before orientation
    height: int
    samples_per_pixel: float  # 1.5 for 4:2:0
    keeps_coefficients: bool  # progressive, or several scans: all are in memory until the end


class JpegLayout(NamedTuple):
    """The contents of a JPEG's markers, up to the first end of image."""

    width: int  # pixels, before orientation
    height: int
    components: int
    orientation: int  # 1..8
    profile: bytes | None  # ICC
    plain: bool  # Huffman-coded DCT, one frame, no bytes between the segments, an end
    complete: bool  # the file has its end marker
    all_begun: bool  # it is complete, or has a scan for each bit of every coefficient
    restarts: bool  # the scans have restart markers
    colours: tuple[slice, ...]  # the segments JFIF and Adobe, which say how colours are coded
    picture: tuple[slice, ...]  # the segments that decoding needs, including the scans

    def without_metadata(self, data: bytes) -> bytes:
        """The same coded picture after a plain JFIF header; only valid for grey and YCbCr."""
        return b"".join([b"\xff\xd8", _JFIF, *(data[part] for part in self.picture), b"\xff\xd9"])

    def decodable(self, data: bytes, tail: bytes = b"") -> bytes:
        """The coded picture with its end marker, without what decoders warn about or fail on.

        Args:
            tail: goes before the end marker.
        """
        parts = (data[part] for part in (*self.colours, *self.picture))
        return b"".join([b"\xff\xd8", *parts, tail, b"\xff\xd9"])


def read_jpeg(data: bytes) -> JpegLayout:
    """Walk the markers from start to end of image; bytes after that are ignored.

    A file that ends within or after its scans is read up to there.

    Raises:
        BadInputError: PHOTO_TRUNCATED, PHOTO_BROKEN, PHOTO_UNKNOWN_FORMAT (not 8 bits per sample).
    """
    walk = MarkerWalk(data)
    try:
        while walk.step():
            pass
    except (struct.error, IndexError) as error:  # a read past the end
        walk.complete = False
        if walk.scans == []:
            raise truncated("jpeg", "the file ends before its picture") from error
    return _layout(walk)


def read_frame(data: bytes) -> Frame | None:
    """The cost of decoding, by the headers alone; None where they can't be read."""
    walk = MarkerWalk(data, header_only=True)
    try:
        while walk.scans == [] and walk.step():
            pass
    except (struct.error, IndexError, BadInputError):
        return None
    frame = walk.frame
    if frame is None or walk.scans == [] or walk.sampling == b"":
        return None
    largest = max(a >> 4 for a in walk.sampling) * max(a & 15 for a in walk.sampling)
    return Frame(
        *(frame.width, frame.height),
        samples_per_pixel=sum((a >> 4) * (a & 15) for a in walk.sampling) / max(1, largest),
        keeps_coefficients=frame.marker in PROGRESSIVE_FRAMES
        or walk.scans[0][0] < frame.components,
    )


def _layout(walk: MarkerWalk) -> JpegLayout:
    if walk.frame is None or walk.scans == []:
        raise broken("jpeg", "the file contains no image")
    return JpegLayout(
        width=walk.frame.width,
        height=walk.frame.height,
        components=walk.frame.components,
        orientation=orientation_of(walk.exif, walk.xmp),
        profile=_joined_profile(walk.profile),
        plain=walk.plain and walk.complete,
        complete=walk.complete,
        all_begun=walk.complete or walk.all_begun(),
        restarts=walk.restarts,
        colours=tuple(walk.colours),
        picture=tuple(walk.picture),
    )


def _joined_profile(parts: list[bytes]) -> bytes | None:
    """The ICC profile from its numbered parts; None where one is missing."""
    if parts == [] or any(len(part) < 2 or part[1] != len(parts) for part in parts):
        return None
    return b"".join(part[2:] for part in sorted(parts))
