"""Says whether a photo shows nothing: it has one colour, such as black or white.

No photo is like it, and its embedding is like those of all others without detail. Owns what blank
means for both lanes, for searches and for duplicates.
"""

import simplejpeg

LEAST_DEVIATION = 2.0
"""Of the means of 8 x 8 pixels, in grey levels of 255. With less in each channel, it is blank."""

_HEAD_BYTES, _BYTES_A_PIXEL = 2_048, 0.1
"""A larger JPEG has detail, or noise: it is not decoded. Photos of telephones have 0.15 bytes a
pixel and more; one of one colour has 0.02."""

_REDUCED = 8  # a JPEG's blocks have 8 x 8 pixels: at this scale a decoder reads their means


def is_blank(jpeg: bytes, width: int, height: int) -> bool:
    """Whether a complete JPEG has one colour.

    Raises:
        ValueError: it can't be decoded.
    """
    if len(jpeg) > _HEAD_BYTES + _BYTES_A_PIXEL * width * height:
        return False
    pixels = simplejpeg.decode_jpeg(
        jpeg, min_width=max(1, width // _REDUCED), min_height=max(1, height // _REDUCED)
    )
    return float(pixels.std(axis=(0, 1)).max()) < LEAST_DEVIATION
