"""Reads a mask that a person has drawn: a PNG of a photo's size, white inside, black outside.

Owns which pictures are a mask; an ambiguous one is refused. Uses Pillow alone,
imported when it is called: the gateway receives masks.
"""

import io
import re
from typing import TYPE_CHECKING

from ops.errors import BadInputError, Reason
from ops.masks.rle import EncodedMask, encode_counts

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 50_000_000  # of the uploaded picture
MAX_RATIO_DIFFERENCE = 0.02  # between the proportions of the mask and of the photo


class UnusableMask(BadInputError):
    """A picture that is no mask of the photo. `code`: what is wrong, in one word."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(Reason.PHOTO_BROKEN, detail)
        self.code = code


def read_mask(data: bytes, *, width: int, height: int) -> EncodedMask:
    """The mask in a PNG, as large as the photo.

    Grey values from 128 on are inside. A picture with the photo's proportions is scaled to its
    size. In one with transparency what is not transparent is inside, as in a cut-out.

    Args:
        width: of the photo as it is stored, in pixels.

    Raises:
        UnusableMask: it is no PNG or damaged; it has other proportions than the photo, colours, a
            palette of colours, or grey values that say neither inside nor outside.
    """
    from PIL import Image, PngImagePlugin

    try:
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as opened:
            _check_size(opened.size, (width, height))
            opened.load()
            grey = _as_grey(opened)
    except UnusableMask:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError) as error:
        code = "mask_broken" if data.startswith(b"\x89PNG\r\n\x1a\n") else "not_a_png"
        raise UnusableMask(code, f"a PNG was expected, {len(data)} bytes came: {error}") from error
    brightest = _range(grey)[1]
    if 0 < brightest < 128:  # numbers of classes, mostly
        raise UnusableMask(
            "mask_values",
            f"the brightest pixel has the value {brightest}; expected 255 inside, 0 outside",
        )
    inside = grey.point([0] * 128 + [255] * 128)
    if inside.size != (width, height):
        inside = inside.resize((width, height), Image.Resampling.NEAREST)
    columns = inside.transpose(Image.Transpose.TRANSPOSE).tobytes()
    runs = [len(run) for run in re.findall(rb"\0+|\xff+", columns)]
    if columns.startswith(b"\xff"):
        runs.insert(0, 0)
    return EncodedMask(height, width, encode_counts(runs))


def _check_size(size: tuple[int, int], photo: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise UnusableMask(
            "mask_size", f"the mask has {size[0]} x {size[1]} pixels; {MAX_PIXELS} are allowed"
        )
    ratio = size[0] * photo[1] / (size[1] * photo[0])
    if not 1 - MAX_RATIO_DIFFERENCE <= ratio <= 1 + MAX_RATIO_DIFFERENCE:
        raise UnusableMask(
            "mask_size",
            f"the mask has {size[0]} x {size[1]} pixels, the photo {photo[0]} x {photo[1]}: "
            "expected the same proportions",
        )


def _range(channel: "Image.Image") -> tuple[int, int]:
    """The smallest and the largest value of a picture with one channel of 8 bits."""
    histogram = channel.histogram()
    found = [value for value, count in enumerate(histogram) if count > 0]
    return found[0], found[-1]


def _as_grey(picture: "Image.Image") -> "Image.Image":
    """The picture as 8-bit grey; raises UnusableMask where its colours have no such meaning."""
    from PIL import ImageChops

    if picture.mode == "P" or "A" in picture.mode or "transparency" in picture.info:
        alpha = picture.convert("RGBA").getchannel("A")
        if _range(alpha)[0] < 255:
            return alpha
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda value: value / 256).convert("L")
    if picture.mode in ("1", "L", "LA"):
        return picture.convert("L")
    red, green, blue = picture.convert("RGB").split()
    if any(ImageChops.difference(red, other).getbbox() for other in (green, blue)):
        code = "mask_palette" if picture.mode == "P" else "mask_channels"
        raise UnusableMask(
            code,
            f"the mask has colours ({picture.mode}); expected grey: white inside, black outside",
        )
    return red
