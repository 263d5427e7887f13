"""Reads the first page of a TIFF: its directory of tags, without those that decoding does not need.

Pillow warns about tags that are malformed, and follows directories that a photo does not need. TIFF
6.0: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import struct

from ops.photos.formats import Container, broken
from ops.photos.orientation import UPRIGHT

_WIDTH, _HEIGHT, _ORIENTATION, _XMP, _PROFILE = 256, 257, 274, 700, 34675
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_MAX_TILE_MARGIN = 1024
_KEPT = frozenset(
    {
        *(_WIDTH, _HEIGHT, 258, 259, 262, 266, 273, _ORIENTATION, 277, 278, 279, 284, 292, 293),
        *(317, 320, _TILE_WIDTH, _TILE_HEIGHT, 324, 325, 332, 338, 339, 347, *range(512, 522)),
        *(529, 530, 531, 532, _XMP, _PROFILE),
    }
)
_SINGLE = frozenset({_WIDTH, _HEIGHT, 259, 262, 266, 274, 277, 278, 284, 317, 322, 323, 332})
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_ENTRY_BYTES = 12


def read_tiff(data: bytes) -> Container:
    """Read a TIFF's first page; the decoder itself turns it upright.

    Raises:
        BadInputError: PHOTO_BROKEN.
        struct.error: the file ends inside its directory.
    """
    order, start, kept = _first_directory(data)
    size = _size_of(kept, order)
    return Container("tiff", size, UPRIGHT, _with_directory(data, order, start, kept))


def page_size(data: bytes) -> tuple[int, int]:
    """The size of the first page, (width, height); raises as `read_tiff` does."""
    order, _, kept = _first_directory(data)
    return _size_of(kept, order)


def _first_directory(data: bytes) -> tuple[str, int, dict[int, bytes]]:
    """The byte order, where the first directory starts, and its entries by tag."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    first = start + 2
    kept: dict[int, bytes] = {}
    for at in range(first, first + count * _ENTRY_BYTES, _ENTRY_BYTES):
        tag, kind, n_values, value = struct.unpack_from(order + "HHII", data, at)
        n_bytes = _VALUE_BYTES.get(kind, 0) * n_values
        fits = n_bytes <= 4 or value + n_bytes <= len(data)
        if tag in _KEPT and n_bytes > 0 and fits and (n_values == 1 or tag not in _SINGLE):
            kept[tag] = data[at : at + _ENTRY_BYTES]
    return order, start, kept


def _size_of(kept: dict[int, bytes], order: str) -> tuple[int, int]:
    if _WIDTH not in kept or _HEIGHT not in kept:
        raise broken("tiff", "the first page has no size")
    width, height = _number(kept[_WIDTH], order), _number(kept[_HEIGHT], order)
    for tag, side in ((_TILE_WIDTH, width), (_TILE_HEIGHT, height)):
        # The decoder has memory for a whole tile, whatever is left of it on the page.
        if tag in kept and _number(kept[tag], order) > side + _MAX_TILE_MARGIN:
            raise broken("tiff", "the tiles are much larger than the page")
    return width, height


def _number(entry: bytes, order: str) -> int:
    """The value of an entry that has one number."""
    _, kind, n_values = struct.unpack_from(order + "HHI", entry)
    code = {1: "B", 3: "H", 4: "I"}.get(kind)
    if code is None or n_values != 1:
        raise broken("tiff", "the first page's size is not a number")
    (value,) = struct.unpack_from(order + code, entry, 8)
    return int(value)


def _with_directory(data: bytes, order: str, start: int, kept: dict[int, bytes]) -> bytes:
    """The file with these entries alone in its first directory, and without a second one."""
    entries = b"".join(kept[tag] for tag in sorted(kept))
    directory = struct.pack(order + "H", len(kept)) + entries + bytes(4)
    end = start + len(directory)
    return data[:start] + directory + data[end:]
