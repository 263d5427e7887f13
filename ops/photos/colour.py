"""Converts colours from a photo's ICC profile to sRGB.

Owns which profiles are applied. One that is invalid, or for another colour space than the photo's,
is ignored, as by browsers and by Pillow. Importing this module does not load LittleCMS: photos
without a profile never do.
"""

from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

MAX_PROFILE_BYTES = 4_000_000
"""A CMYK profile has about a megabyte; a larger profile is ignored."""

_SAME = 3
"""Two renderings of a colour that differ by at most this, of 255, count as equal: sRGB's many
profiles differ by that much, most near black."""

_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK", b"Lab ": "LAB"}
_MAX_KNOWN = 64
"""Conversions that are kept: photos have few different profiles, and one for CMYK takes a
megabyte."""

_SAMPLES = np.stack(np.meshgrid(*[np.linspace(0, 255, 9)] * 3), axis=-1).reshape(27, 27, 3)


class Conversion:
    """A conversion to sRGB from the colours of one profile.

    Attributes:
        mode: the mode of images that it converts: "RGB", "L", "CMYK", "LAB".
    """

    def __init__(self, transform: Any, mode: str) -> None:
        self.mode = mode
        self._transform = transform

    def apply(self, image: Image.Image) -> Image.Image:
        """Convert an image in `mode` to RGB."""
        converted: Image.Image = self._transform.apply(image)
        return converted

    def changes_colours(self) -> bool:
        """Whether any colour differs visibly from the same numbers read as sRGB."""
        if self.mode not in ("RGB", "L"):
            return True
        samples = Image.fromarray(_SAMPLES.astype(np.uint8)).convert(self.mode)
        read = np.asarray(samples.convert("RGB")).astype(int)
        return bool(np.abs(np.asarray(self.apply(samples)) - read).max() > _SAME)


_known: dict[bytes, Conversion | None] = {}  # by the profile's SHA-256


def conversion_of(profile: bytes | None) -> Conversion | None:
    """The conversion for an ICC profile; None where it is sRGB, invalid or missing."""
    if not profile or len(profile) > MAX_PROFILE_BYTES or profile[16:20] not in _SPACES:
        return None
    digest = sha256(profile).digest()
    try:
        return _known[digest]
    except KeyError:
        conversion = _conversion(profile)
    while len(_known) >= _MAX_KNOWN:
        _known.pop(next(iter(_known)), None)
    _known[digest] = conversion
    return conversion


def _conversion(profile: bytes) -> Conversion | None:
    from PIL import ImageCms

    mode = _SPACES[profile[16:20]]
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    conversion = Conversion(transform, mode)
    return conversion if conversion.changes_colours() else None
