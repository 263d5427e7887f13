"""Walks the boxes of an AVIF or HEIC (ISO base media file format) without decoding.

The Exif item is renamed: the boxes `irot` and `imir` give the orientation, and parsers warn or fail
on a broken Exif. Tracks are renamed too: only the main picture is read, never a sequence. Boxes:
ISO/IEC 14496-12; items: https://aomediacodec.github.io/av1-avif/
"""

import re
import struct
from collections.abc import Iterator

from ops.errors import BadInputError
from ops.photos.containers.av1_header import coded_size
from ops.photos.formats import Container, broken, truncated

_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)
_AV1_ITEM = re.compile(rb"infe(?:\x02.{3}(.{2})|\x03.{3}(.{4})).{2}av01", re.DOTALL)
_SIZES = re.compile(rb"ispe\0\0\0\0(.{8})", re.DOTALL)
_MAX_BOXES = 1_000
_MAX_EXTENTS = 4_000
_PICTURE = frozenset({b"meta", b"mdat"})
"""The boxes that hold the picture."""
_PICTURES_OF = {b"avis": b"avif", b"msf1": b"mif1", b"hevc": b"heic", b"hevx": b"heix"}
"""The brand of a picture for each brand of a sequence, whose tracks need the box `moov`."""


def read_iso(data: bytes, photo_format: str) -> Container:
    """Read an AVIF or HEIC; the size is left to the decoder, which parses without decoding.

    Raises:
        BadInputError: PHOTO_TRUNCATED, PHOTO_BROKEN.
        struct.error: the file ends inside a box.
    """
    parts, meta = [], None
    for kind, start, end in _boxes(data, photo_format):
        box = data[start:end]
        if kind == b"meta":
            meta = box
            box = _EXIF_ITEM.sub(rb"\1none", box)
        elif kind == b"moov":
            box = box[:4] + b"skip" + box[8:]
        elif kind == b"ftyp":
            for sequence, picture in _PICTURES_OF.items():  # otherwise a track would be read
                box = box.replace(sequence, picture)
        parts.append(box)
    if meta is None:
        raise broken(photo_format, "the file has no meta box")
    if photo_format == "avif":
        _check_av1(data, meta)
    return Container(photo_format, None, None, b"".join(parts))


def largest_picture(data: bytes, photo_format: str) -> tuple[int, int] | None:
    """The size of the file's largest picture, (width, height); None where none is stated.

    A decoder refuses a HEIC's picture that is larger; an AVIF's is refused by `read_iso`.
    """
    return max(
        (
            size
            for kind, start, end in _boxes(data, photo_format)
            if kind == b"meta"
            for size in _sizes(data[start:end])
        ),
        key=lambda size: size[0] * size[1],
        default=None,
    )


def _sizes(meta: bytes) -> list[tuple[int, int]]:
    return [struct.unpack(">II", size) for size in _SIZES.findall(meta)]


def _boxes(data: bytes, photo_format: str) -> Iterator[tuple[bytes, int, int]]:
    """The kind, start and end of each top-level box; bytes after the picture's are ignored."""
    start = 0
    seen: set[bytes] = set()
    n_boxes = 0
    while start < len(data):
        n_boxes += 1
        if n_boxes > _MAX_BOXES:
            raise broken(photo_format, f"more than {_MAX_BOXES} boxes")
        try:
            kind, end = _box(data, start, photo_format)
        except (struct.error, BadInputError):
            if seen >= _PICTURE and data[start + 4 : start + 8] not in _PICTURE:
                return
            raise
        yield kind, start, end
        seen.add(kind)
        start = end


def _box(data: bytes, start: int, photo_format: str) -> tuple[bytes, int]:
    """The kind and end of the box that begins at `start`."""
    length, kind = struct.unpack_from(">I4s", data, start)
    if length == 1:
        (length,) = struct.unpack_from(">Q", data, start + 8)
    end = len(data) if length == 0 else start + length
    if end > len(data):
        raise truncated(photo_format, "a box runs past the end of the file")
    if end < start + 8:
        raise broken(photo_format, "a box is shorter than its header")
    return kind, end


def _check_av1(data: bytes, meta: bytes) -> None:
    """Refuse coded pictures that are larger than the boxes say.

    libavif decodes them, and then scales them to what the boxes say.
    """
    sizes = _sizes(meta)
    width = max((size[0] for size in sizes), default=0)
    height = max((size[1] for size in sizes), default=0)
    items = {int.from_bytes(short or long, "big") for short, long in _AV1_ITEM.findall(meta)}
    for item, parts in _item_data(data, meta):
        if item not in items:
            continue
        coded = coded_size(b"".join(parts))
        if coded is None:
            raise broken("avif", "a picture without a sequence header")
        if coded[0] > width or coded[1] > height:
            raise broken("avif", f"a coded picture of {coded[0]}x{coded[1]} in {width}x{height}")


def _item_data(data: bytes, meta: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Each item's number and the parts of its data, by the box `iloc`."""
    at = meta.find(b"iloc") + 4
    stored = meta.find(b"idat") + 4
    version, sizes, more_sizes = meta[at], meta[at + 4], meta[at + 5]
    reader = _Numbers(meta, at + 6)
    bytes_of_id = 4 if version == 2 else 2
    n_extents = n_bytes = 0
    for _ in range(reader.next(bytes_of_id)):
        item = reader.next(bytes_of_id)
        in_meta = version > 0 and reader.next(2) & 15 == 1
        reader.next(2)
        base = reader.next(more_sizes >> 4)
        parts = []
        for _ in range(reader.next(2)):
            reader.next(more_sizes & 15 if version > 0 else 0)
            offset, length = base + reader.next(sizes >> 4), reader.next(sizes & 15)
            source, start = (meta, stored + offset) if in_meta else (data, offset)
            parts.append(source[start : start + length] if length > 0 else source[start:])
            n_extents += 1
            n_bytes += len(parts[-1])
            if n_extents > _MAX_EXTENTS:
                raise broken("avif", f"more than {_MAX_EXTENTS} extents")
            if n_bytes > 2 * len(data):  # each is copied here
                raise broken("avif", "its pictures have more bytes than the file")
        yield item, parts


class _Numbers:
    """Reads big-endian numbers one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def next(self, n_bytes: int) -> int:
        """The next number; 0 if it has no bytes."""
        part = self.data[self.at : self.at + n_bytes]
        if len(part) < n_bytes:
            raise IndexError
        self.at += n_bytes
        return int.from_bytes(part, "big")
