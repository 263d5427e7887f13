"""Estimates the memory that decoding a photo takes, by its header.

Owns the bytes per pixel of each format, measured with the decoders that are used; upper bounds.
Nothing is decoded. Callers limit the sum over all decoders (`resources/photos/decoders.py`).
"""

from ops.photos.containers.reading import read_size
from ops.photos.formats import sniff
from ops.photos.jpeg_markers import read_frame
from ops.photos.pixels import BAND_PIXELS

_BYTES_PER_PIXEL = {"png": 5, "webp": 18, "gif": 6, "avif": 16, "heic": 15, "bmp": 5, "tiff": 12}
_COMPLETED_BYTES_PER_PIXEL = 9  # for a PNG without its end, whose pixels are packed again
_BAND_BYTES_PER_PIXEL = 20
_SCALED_BYTES = 20_000_000
"""A JPEG that is decoded at a smaller scale: at most 1280x1280 pixels, and their resizing."""
_COEFFICIENT_BYTES = 2


def decode_bytes(data: bytes) -> int:
    """The most bytes that decoding a photo takes, besides `data`; 0 for what can't be decoded."""
    photo_format = sniff(data)
    if photo_format is None:
        return 0
    if photo_format == "jpeg":
        return _jpeg_bytes(data)
    size = read_size(data, photo_format)
    if size is None:
        return 0
    pixels = size[0] * size[1]
    per_pixel = _BYTES_PER_PIXEL[photo_format]
    if photo_format == "png" and data[-8:-4] != b"IEND":
        per_pixel += _COMPLETED_BYTES_PER_PIXEL
    # A container may be copied, without what decoders warn about.
    return per_pixel * pixels + _BAND_BYTES_PER_PIXEL * min(pixels, BAND_PIXELS) + len(data)


def _jpeg_bytes(data: bytes) -> int:
    frame = read_frame(data)
    if frame is None:
        return 0
    pixels = frame.width * frame.height
    coefficients = 0
    if frame.keeps_coefficients:
        coefficients = int(_COEFFICIENT_BYTES * frame.samples_per_pixel * pixels)
    return coefficients + min(12 * pixels, _SCALED_BYTES)
