"""Generates unusual photos: every mode, every orientation, and corrupt files.

The picture is always the same, so that a test knows the expected result: four quadrants, red and
green above, blue and grey below.
"""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

QUADRANTS = np.array([[(200, 30, 30), (30, 160, 40)], [(40, 50, 190), (120, 120, 120)]], np.uint8)
"""(2, 2, 3): top left, top right, bottom left, bottom right."""

GREY_QUADRANTS = np.array([[200, 150], [90, 30]], np.uint8)


def picture(width: int = 96, height: int = 64) -> Image.Image:
    """The four quadrants as RGB."""
    return Image.fromarray(QUADRANTS).resize((width, height), Image.Resampling.NEAREST)


def grey_picture(width: int = 96, height: int = 64) -> Image.Image:
    """Four grey quadrants as L."""
    return Image.fromarray(GREY_QUADRANTS).resize((width, height), Image.Resampling.NEAREST)


def noisy(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours under sensor noise: about as many coded bytes as a real photo."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 40 + 2, width // 40 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.normal(0, 5, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8))


def save(image: Image.Image, photo_format: str, **options: Any) -> bytes:
    """Encode the image in one of Pillow's formats."""
    stream = BytesIO()
    image.save(stream, photo_format, **options)
    return stream.getvalue()


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    """A JPEG of the image, by default of the quadrants."""
    return save(picture() if image is None else image, "JPEG", **({"quality": 92} | options))


def exif(orientation: int, *, order: str = "<") -> bytes:
    """An Exif block with only the orientation tag, built by hand."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = magic + struct.pack(order + "IH", 8, 1) + entry + struct.pack(order + "I", 0)
    return b"Exif\0\0" + tiff


def turned(orientation: int) -> Image.Image:
    """The quadrants as a camera stores them with that orientation; undoing it restores them."""
    stored_by = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    return picture() if stored_by is None else picture().transpose(stored_by)


def display_profile() -> bytes:
    """An ICC profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk with a valid checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(header: tuple[int, int, int, int], compressed_rows: bytes) -> bytes:
    """A PNG built by hand.

    Args:
        header: width, height, bit depth and colour type.
        compressed_rows: filtered scan lines, compressed.
    """
    ihdr = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    idat = png_chunk(b"IDAT", compressed_rows)
    return b"\x89PNG\r\n\x1a\n" + ihdr + idat + png_chunk(b"IEND", b"")


def compressed_zeros(n_bytes: int) -> bytes:
    """A zlib stream of zeros, compressed in chunks to save memory."""
    packer = zlib.compressobj(1)
    chunk = bytes(1_000_000)
    return b"".join(packer.compress(chunk) for _ in range(n_bytes // len(chunk))) + packer.flush()


def png_16_bit_grey() -> bytes:
    """16-bit grey quadrants."""
    deep = np.asarray(grey_picture()).astype(np.uint16) * 257
    return save(Image.fromarray(deep), "PNG")


def png_16_bit_rgb() -> bytes:
    """16-bit RGB quadrants, which Pillow can't write."""
    deep = (np.asarray(picture()).astype(np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    return png((96, 64, 16, 2), zlib.compress(rows))


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""
    return png((width, height, 8, 2), zlib.compress(bytes(64)))


def png_inflating(n_bytes: int) -> bytes:
    """A 64x64 PNG whose pixel stream inflates to far more than its pixels."""
    return png((64, 64, 8, 2), compressed_zeros(n_bytes))


def png_with_text_bomb(n_bytes: int) -> bytes:
    """A valid picture with zTXt and iCCP chunks that inflate a thousandfold."""
    bomb = compressed_zeros(n_bytes)
    whole = save(picture(), "PNG")
    chunks = png_chunk(b"zTXt", b"Comment\0\0" + bomb) + png_chunk(b"iCCP", b"icc\0\0" + bomb)
    return whole[:33] + chunks + whole[33:]


def png_with_odd_animation() -> bytes:
    """A valid picture with an acTL chunk that Pillow warns about."""
    whole = save(picture(), "PNG")
    return whole[:33] + png_chunk(b"acTL", struct.pack(">II", 0, 0)) * 2 + whole[33:]


def jpeg_claiming(width: int, height: int) -> bytes:
    """A small JPEG whose frame header claims any size."""
    whole = bytearray(jpeg())
    at = whole.index(b"\xff\xc0") + 5
    whole[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(whole)


def gif_claiming(width: int, height: int) -> bytes:
    """A small GIF whose screen claims any size."""
    whole = bytearray(save(picture(), "GIF"))
    whole[6:10] = struct.pack("<HH", width, height)
    return bytes(whole)


def gif_with_overhanging_frame(width: int, height: int) -> bytes:
    """A GIF with a small screen and a first frame that claims any size."""
    whole = bytearray(save(picture(), "GIF"))
    at = 13 + (3 << (whole[10] & 7) + 1)
    while whole[at] == 0x21:
        at += 2
        while whole[at] != 0:
            at += 1 + whole[at]
        at += 1
    whole[at + 5 : at + 9] = struct.pack("<HH", width, height)
    return bytes(whole)


def webp_claiming(width: int, height: int) -> bytes:
    """A small extended WebP whose canvas claims any size."""
    whole = bytearray(animated("WEBP"))
    whole[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(whole)


def jpeg_with_scans(n_scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    whole = jpeg(progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * n_scans + b"\xff\xd9"


def animated(photo_format: str) -> bytes:
    """An animation: the quadrants first, then black."""
    black = Image.new("RGB", (96, 64))
    return save(picture(), photo_format, save_all=True, append_images=[black, black], lossless=True)


def see_through(photo_format: str, **options: Any) -> bytes:
    """RGBA whose right half is fully transparent black."""
    image = picture().convert("RGBA")
    image.paste((0, 0, 0, 0), (48, 0, 96, 64))
    return save(image, photo_format, **options)


def see_through_palette(photo_format: str, width: int = 96, height: int = 64) -> bytes:
    """A palette image whose second index is transparent and fills the right half."""
    image = Image.new("P", (width, height), 0)
    image.putpalette([200, 30, 30, 0, 0, 0])
    image.paste(1, (width // 2, 0, width, height))
    return save(image, photo_format, transparency=1)
