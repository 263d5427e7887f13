"""Generates unusual photos: every mode, every orientation, and corrupt files.

The picture is always the same, so that a test knows the expected result: four quadrants, red and
green above, blue and grey below.
"""

import re
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


def heic_image(image: Image.Image | None = None) -> Any:
    """A black picture to append to a HEIC."""
    import pillow_heif

    return pillow_heif.from_pillow(Image.new("RGB", (96, 64)) if image is None else image)[0]


def heic(image: Image.Image | None = None, **options: Any) -> bytes:
    """A HEIC as telephones write it, by default of the quadrants."""
    import pillow_heif

    stream = BytesIO()
    photo = picture() if image is None else image
    pillow_heif.from_pillow(photo).save(stream, **({"quality": 90, "chroma": 444} | options))
    return stream.getvalue()


def heic_burst() -> bytes:
    """A HEIC with brands of a sequence, and a track that can't be read beside its picture."""
    whole = heic()
    brands = b"heix\0\0\0\0mif1heixmiaf"
    assert whole[8:28] == brands
    return whole[:8] + b"msf1\0\0\0\0msf1hevxheix" + whole[28:] + b"\0\0\0\x10moov" + bytes(8)


def exif(orientation: int, *, order: str = "<", kind: int = 3) -> bytes:
    """An Exif block with only the orientation tag, built by hand; `kind`: TIFF's type of it."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    code = {1: "B3x", 3: "H2x", 4: "I", 6: "b3x", 8: "h2x", 9: "i"}[kind]
    entry = struct.pack(order + "HHI" + code, 0x0112, kind, 1, orientation)
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


def wide_profile(primaries: str = "Display P3") -> bytes:
    """An ICC profile with sRGB's curve and other primaries: "Display P3" or "Adobe RGB"."""
    adapted = {  # XYZ of red, green and blue, adapted to D50
        "Display P3": (
            (0.5151, 0.2412, -0.0011),
            (0.292, 0.6922, 0.0419),
            (0.1571, 0.0666, 0.7841),
        ),
        "Adobe RGB": ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)),
    }[primaries]
    profile = bytearray(display_profile())
    for tag, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted, strict=True):
        (at,) = struct.unpack_from(">I", profile, profile.index(tag) + 4)
        struct.pack_into(">iii", profile, at + 8, *(round(value * 65_536) for value in xyz))
    return bytes(profile)


def cmyk_profile() -> bytes:
    """An ICC profile of a printer without coloured ink: only black (K) changes the lightness."""
    lightness = [100 if (node & 1) == 0 else 0 for node in range(16)]  # K is the last channel
    nodes = b"".join(bytes([round(value * 2.55), 128, 128]) for value in lightness)
    identity = b"".join(struct.pack(">i", 65_536 if i % 4 == 0 else 0) for i in range(9))
    curve = bytes(range(256))
    table = b"mft1\0\0\0\0\4\3\2\0" + identity + curve * 4 + nodes + curve * 3
    tags = {
        b"A2B0": table,
        b"desc": b"desc\0\0\0\0\0\0\0\5grey\0" + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">iii", 63_190, 65_536, 54_061),
    }
    header = bytearray(128)
    header[8:12] = b"\2\x40\0\0"
    header[12:24] = b"prtrCMYKLab "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">iii", 63_190, 65_536, 54_061)
    directory, body = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        directory += struct.pack(">4sII", tag, 128 + 4 + 12 * len(tags) + len(body), len(value))
        body += padded
    header[:4] = struct.pack(">I", 128 + len(directory) + len(body))
    return bytes(header) + directory + body


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


def png_16_bit_see_through() -> bytes:
    """16-bit RGB quadrants whose right half has the transparent colour."""
    deep = (np.asarray(picture()).astype(np.uint16) * 257).astype(">u2")
    deep[:, 48:] = 0x1234
    whole = png((96, 64, 16, 2), zlib.compress(b"".join(b"\0" + row.tobytes() for row in deep)))
    return whole[:33] + png_chunk(b"tRNS", b"\x12\x34" * 3) + whole[33:]


def png_cut(share: float) -> bytes:
    """A PNG of 300 rows of noise that ends after this share of its pixels."""
    pixels = np.asarray(noisy(200, 300))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    packed = zlib.compress(rows[: int(len(rows) * share)])[:-4]
    whole = png((200, 300, 8, 2), packed)
    return whole[:-16]  # without checksum and end


def png_with_xmp(xmp: bytes, exif_block: bytes = b"") -> bytes:
    """The quadrants with an XMP packet, and an Exif block if there is one."""
    whole = save(picture(), "PNG")
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    block = png_chunk(b"eXIf", exif_block[6:]) if exif_block != b"" else b""
    return whole[:33] + text + block + whole[33:]


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


def jpeg_cut(share: float) -> bytes:
    """A JPEG of noise, 4:4:4 with 300 rows of blocks, that ends after this share of its coded data.

    The coded data of all rows have about the same size.
    """
    whole = jpeg(noisy(80, 2400), subsampling=0)
    start = whole.index(b"\xff\xda")
    return whole[: start + int((len(whole) - start) * share)]


def jpeg_with_odd_scan_header() -> bytes:
    """A baseline JPEG whose scan claims another range of coefficients: libjpeg warns about it."""
    whole = bytearray(jpeg())
    start = whole.index(b"\xff\xda")
    whole[start + int.from_bytes(whole[start + 2 : start + 4], "big")] = 0
    return bytes(whole)


def bmp_claiming(width: int, height: int) -> bytes:
    """A small BMP whose header claims any size."""
    whole = bytearray(save(picture(), "BMP"))
    whole[18:26] = struct.pack("<ii", width, height)
    return bytes(whole)


def avif_claiming(width: int, height: int, *, coded: tuple[int, int]) -> bytes:
    """An AVIF whose boxes say one size, and whose coded picture has another."""
    whole = bytearray(save(Image.new("RGB", coded, (200, 30, 30)), "AVIF", speed=10))
    for found in re.finditer(b"ispe", whole):
        struct.pack_into(">II", whole, found.start() + 8, width, height)
    return bytes(whole)


def avif_with_extents(n: int, n_bytes: int) -> bytes:
    """An AVIF whose picture has `n` parts, each up to the end of a file with `n_bytes` more."""
    whole = save(picture(), "AVIF", speed=10)
    box, meta = whole.index(b"iloc") - 4, whole.index(b"meta") - 4
    old, outer = (struct.unpack_from(">I", whole, at)[0] for at in (box, meta))
    extents = struct.pack(">II", len(whole) // 2, 0) * n
    body = b"iloc\0\0\0\0\x44\0\0\1\0\1\0\0" + struct.pack(">H", n) + extents
    new = struct.pack(">I", 4 + len(body)) + body
    longer = struct.pack(">I", outer - old + len(new))
    padding = struct.pack(">I4s", 8 + n_bytes, b"free") + bytes(n_bytes)
    return b"".join([whole[:meta], longer, whole[meta + 4 : box], new, whole[box + old :], padding])


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


def jpeg_with_rare_subsampling() -> bytes:
    """The quadrants with a colour sample for each 3x1 pixels, one scan for each component."""
    luma, blue, red = picture().convert("YCbCr").split()
    planes = [luma, blue.resize((32, 64)), red.resize((32, 64))]
    coded = [save(plane, "JPEG", quality=92) for plane in planes]
    tables = coded[0][: coded[0].index(b"\xff\xc0")]  # all three have the same
    frame = struct.pack(">HHBHHB", 0xFFC0, 17, 8, 64, 96, 3) + bytes.fromhex("013100 021100 031100")
    huffman = coded[0][coded[0].index(b"\xff\xc4") : coded[0].index(b"\xff\xda")]
    scans = [
        b"\xff\xda\x00\x08\x01" + bytes([number]) + data[data.index(b"\xff\xda") + 6 : -2]
        for number, data in enumerate(coded, 1)
    ]
    return b"".join([tables, frame, huffman, *scans, b"\xff\xd9"])


def animated(photo_format: str) -> bytes:
    """An animation: the quadrants first, then black."""
    black = Image.new("RGB", (96, 64))
    return save(picture(), photo_format, save_all=True, append_images=[black, black], lossless=True)


def see_through_image() -> Image.Image:
    """RGBA whose right half is fully transparent black."""
    image = picture().convert("RGBA")
    image.paste((0, 0, 0, 0), (48, 0, 96, 64))
    return image


def see_through(photo_format: str, **options: Any) -> bytes:
    """The same, encoded."""
    return save(see_through_image(), photo_format, **options)


def see_through_palette(photo_format: str, width: int = 96, height: int = 64) -> bytes:
    """A palette image whose second index is transparent and fills the right half."""
    image = Image.new("P", (width, height), 0)
    image.putpalette([200, 30, 30, 0, 0, 0])
    image.paste(1, (width // 2, 0, width, height))
    return save(image, photo_format, transparency=1)
