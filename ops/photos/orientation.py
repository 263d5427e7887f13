"""Reads a photo's orientation from its metadata: Exif first, then XMP, as Pillow does.

Does not depend on containers: callers pass the blocks that they found.
"""

import re
import struct

UPRIGHT = 1
"""Exif orientation 1: row 0 is the top, column 0 the left side."""

_ORIENTATION_TAG = 0x0112
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
"""TIFF's integer types; writers use all of them for the orientation."""
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def orientation_of(exif: bytes = b"", xmp: bytes = b"") -> int:
    """The orientation, 1..8, from the first block with a valid one; upright if neither has one."""
    if not exif and not xmp:
        return UPRIGHT
    return exif_orientation(exif) or xmp_orientation(xmp) or UPRIGHT


def exif_orientation(exif: bytes) -> int | None:
    """The orientation, 1..8, in an Exif block (a TIFF, with or without "Exif\\0\\0" before it).

    None where there is none, or one that is invalid: the photo is still usable.
    """
    tiff = exif[6:] if exif[:6] == b"Exif\0\0" else exif
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, n_values = struct.unpack_from(order + "HHI", tiff, entry)
            if tag == _ORIENTATION_TAG and kind in _INTEGERS and n_values == 1:
                (value,) = struct.unpack_from(order + _INTEGERS[kind], tiff, entry + 8)
                return int(value) if 1 <= value <= 8 else None
    except struct.error:
        return None
    return None


def xmp_orientation(xmp: bytes) -> int | None:
    """The orientation, 1..8, in an XMP packet; None where there is none."""
    found = _XMP_ORIENTATION.search(xmp)
    return None if found is None else int(found[1])
