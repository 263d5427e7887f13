"""Draws a mask over its photo: what is outside is dark, and the edge is a bright line."""

import io

import numpy as np
from PIL import Image, ImageFilter

from ops.masks.arrays import decode_mask
from ops.masks.rle import EncodedMask

OUTSIDE = 0.35  # of the light that is left
EDGE = (255, 196, 0)
LONGEST = 320  # pixels: a contact sheet has smaller ones
QUALITY = 85


def with_mask(photo: bytes, mask: EncodedMask) -> bytes:
    """A JPEG with the mask drawn over it, as a JPEG of at most LONGEST pixels a side.

    Raises:
        OSError: the photo can't be decoded.
    """
    with Image.open(io.BytesIO(photo), formats=["JPEG"]) as opened:
        opened.draft("RGB", (LONGEST, LONGEST))
        small = opened.convert("RGB")
    small.thumbnail((LONGEST, LONGEST))
    inside = Image.fromarray(decode_mask(mask).astype(np.uint8) * 255)
    inside = inside.resize(small.size, Image.Resampling.BILINEAR).point([0] * 128 + [255] * 128)
    dark = small.point(lambda value: round(value * OUTSIDE))
    drawn = Image.composite(small, dark, inside)
    wide, narrow = inside.filter(ImageFilter.MaxFilter(3)), inside.filter(ImageFilter.MinFilter(3))
    edge = (np.asarray(wide) > 0) & (np.asarray(narrow) == 0)
    drawn.paste(EDGE, mask=Image.fromarray(edge.astype(np.uint8) * 255))
    file = io.BytesIO()
    drawn.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
