"""Cuts the goods out of a photo: the photo with a transparent background.

Owns the edge and the file. Uses Pillow alone, which is imported when it is called: the gateway cuts
out on request.
"""

import io
from typing import Literal

from ops.masks.rle import EncodedMask

CutOutFormat = Literal["webp", "png"]

EDGE_PX = 0.8  # sigma of the soft edge, inside the mask: nothing of the background shows
MARGIN = 0.04  # of the longer side of the goods' box, around a trimmed cut-out
WEBP_QUALITY = 85


def cut_out(
    rendition: bytes, mask: EncodedMask, *, image_format: CutOutFormat, trimmed: bool = False
) -> bytes:
    """The photo with an alpha channel, as a file.

    Without anything in the mask it is transparent as a whole.

    Args:
        rendition: a JPEG; the mask is scaled to its size.
        trimmed: whether to crop it to the goods with a small margin.

    Raises:
        OSError: the rendition can't be decoded.
    """
    from PIL import Image, ImageFilter

    with Image.open(io.BytesIO(rendition), formats=["JPEG"]) as opened:
        photo = opened.convert("RGB")
    # The bytes are columns: they are the rows of the transposed picture.
    columns = Image.frombytes("L", (mask.height, mask.width), mask.as_bytes())
    alpha = columns.transpose(Image.Transpose.TRANSPOSE)
    if alpha.size != photo.size:
        alpha = alpha.resize(photo.size, Image.Resampling.BILINEAR)
    blurred = alpha.filter(ImageFilter.GaussianBlur(EDGE_PX))
    photo.putalpha(blurred.point([max(0, min(255, 2 * value - 255)) for value in range(256)]))
    box = alpha.point(lambda value: 255 if value > 127 else 0).getbbox()
    if trimmed and box is not None:
        margin = round(MARGIN * max(box[2] - box[0], box[3] - box[1])) + 1
        left, top = max(0, box[0] - margin), max(0, box[1] - margin)
        right, bottom = min(photo.width, box[2] + margin), min(photo.height, box[3] + margin)
        photo = photo.crop((left, top, right, bottom))
    file = io.BytesIO()
    if image_format == "png":
        photo.save(file, "PNG", compress_level=6)
    else:
        photo.save(file, "WEBP", quality=WEBP_QUALITY, method=2)
    return file.getvalue()
