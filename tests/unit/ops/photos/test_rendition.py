"""Renditions: allowed photos give the right pixels, others an error with the right reason."""

import random
import subprocess
import sys
import threading
import warnings
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from ops.errors import BadInputError, Reason
from ops.photos.rendition import LONGEST_SIDE, make_rendition, make_thumbnail
from ops.types import PhotoNote, Rendition
from tests.support import odd_photos as odd

MAX_PIXELS = 50_000_000
WHITE = (255, 255, 255)


def render(data: bytes) -> Rendition:
    return make_rendition(data, max_pixels=MAX_PIXELS)


def pixels_of(rendition: Rendition) -> np.ndarray:
    """The pixels decoded by Pillow, which is not the decoder that the rendition was made with."""
    return np.asarray(Image.open(BytesIO(rendition.data)).convert("RGB")).astype(int)


def quadrants_of(rendition: Rendition) -> np.ndarray:
    """(2, 2, 3): the mean colour in the middle of each quadrant."""
    pixels = pixels_of(rendition)
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    corners = [(y, x) for y in (0, height) for x in (0, width)]
    means = [
        pixels[y + height // 4 : y + 3 * height // 4, x + width // 4 : x + 3 * width // 4].mean(
            (0, 1)
        )
        for y, x in corners
    ]
    return np.array(means).reshape(2, 2, 3)


def assert_shows(rendition: Rendition, expected: np.ndarray, tolerance: float = 8) -> None:
    expected = np.asarray(expected).astype(int)
    if expected.shape == (2, 2):
        expected = np.repeat(expected[:, :, None], 3, axis=2)
    assert np.abs(quadrants_of(rendition) - expected).max() <= tolerance


def markers_of(data: bytes) -> set[int]:
    """The markers of a JPEG's header, up to the first scan."""
    markers, at = set(), 2
    while data[at + 1] != 0xDA:
        assert data[at] == 0xFF
        markers.add(data[at + 1])
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return markers


def reason_of(data: bytes, max_pixels: int = MAX_PIXELS) -> Reason:
    with pytest.raises(BadInputError) as caught:
        make_rendition(data, max_pixels=max_pixels)
    assert len(caught.value.detail) < 300
    return caught.value.reason


UNCHANGED = {
    "baseline": odd.jpeg(),
    "progressive": odd.jpeg(progressive=True),
    "grey": odd.jpeg(odd.grey_picture()),
    "no chroma subsampling": odd.jpeg(subsampling=0),
    "restart markers": odd.jpeg(restart_marker_rows=1),
    "as large as allowed": odd.jpeg(odd.picture(640, 480)),
    "Exif that says upright": odd.jpeg(exif=odd.exif(1)),
    "Exif that is broken": odd.jpeg(exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"),
    "Exif with orientation 9": odd.jpeg(exif=odd.exif(9)),
    "colour profile": odd.jpeg(icc_profile=odd.display_profile()),
    "comment": odd.jpeg(comment=b"taken at home"),
}

ENCODED = {
    "too large": odd.jpeg(odd.picture(1280, 960)),
    "CMYK as Adobe writes it": odd.jpeg(odd.picture().convert("CMYK")),
    "CMYK 4:2:0": odd.jpeg(odd.picture().convert("CMYK"), subsampling="4:2:0"),
    "CMYK, progressive": odd.jpeg(odd.picture().convert("CMYK"), progressive=True),
    "RGB without conversion": odd.jpeg(keep_rgb=True),
    "PNG": odd.save(odd.picture(), "PNG"),
    "PNG, 16 bits": odd.png_16_bit_rgb(),
    "PNG, palette": odd.save(odd.picture().quantize(8), "PNG"),
    "PNG, text bomb": odd.png_with_text_bomb(100_000_000),
    "PNG, odd animation": odd.png_with_odd_animation(),
    "WebP": odd.save(odd.picture(), "WEBP", quality=95),
    "WebP, lossless": odd.save(odd.picture(), "WEBP", lossless=True),
    "WebP, animated": odd.animated("WEBP"),
    "GIF": odd.save(odd.picture(), "GIF"),
    "GIF, animated": odd.animated("GIF"),
    "HEIC": odd.heic(),
    "HEIC, tiles": odd.heic(odd.picture(768, 512), tile_size=256),
    "HEIC, several pictures": odd.heic(save_all=True, append_images=[odd.heic_image()]),
    "HEIC, burst": odd.heic_burst(),
    "HEIC, three bytes after it": odd.heic() + b"end",
    "AVIF, a line after it": odd.save(odd.picture(), "AVIF", quality=95) + b"\nsent by a script\n",
    "BMP": odd.save(odd.picture(), "BMP"),
    "BMP, palette": odd.save(odd.picture().quantize(8), "BMP"),
    "TIFF": odd.save(odd.picture(), "TIFF"),
    "TIFF, big endian": odd.save(odd.picture(), "TIFF", big_endian=True),
    "TIFF, JPEG": odd.save(odd.picture(), "TIFF", compression="jpeg", quality=95),
    "TIFF, pages": odd.save(
        odd.picture(), "TIFF", save_all=True, append_images=[Image.new("RGB", (96, 64))]
    ),
    "AVIF": odd.save(odd.picture(), "AVIF", quality=95),
    "MPO": odd.save(
        odd.picture(1280, 960), "MPO", save_all=True, append_images=[Image.new("RGB", (1280, 960))]
    ),
}


@pytest.mark.parametrize("data", UNCHANGED.values(), ids=UNCHANGED.keys())
def test_a_small_upright_jpeg_keeps_its_coded_data_and_loses_its_metadata(data: bytes) -> None:
    """The pixels are bit for bit those of the source, and all metadata is removed."""
    rendition = render(data)
    assert np.array_equal(simplejpeg.decode_jpeg(rendition.data), simplejpeg.decode_jpeg(data))
    scan = data[data.index(b"\xff\xda") :]
    assert rendition.data.endswith(scan)
    assert markers_of(rendition.data) <= {0xE0, 0xDB, 0xC4, 0xC0, 0xC2, 0xDD}
    assert b"Exif" not in rendition.data and b"ICC_PROFILE" not in rendition.data
    assert b"home" not in rendition.data


@pytest.mark.parametrize("data", ENCODED.values(), ids=ENCODED.keys())
def test_everything_else_is_encoded_once(data: bytes) -> None:
    """The colours are where they were, and the result is a plain JPEG of the right size."""
    rendition = render(data)
    assert_shows(rendition, odd.QUADRANTS, tolerance=10)
    assert simplejpeg.decode_jpeg_header(rendition.data)[2:] == ("YCbCr", "420")
    assert markers_of(rendition.data) <= {0xE0, 0xDB, 0xC4, 0xC0}


def test_a_rendition_describes_its_source() -> None:
    """Digests, sizes and format are those of the source's bytes."""
    data = odd.save(odd.picture(1000, 500), "PNG")
    rendition = render(data)
    assert rendition.photo_sha256 == sha256(data).digest()
    assert rendition.sha256 == sha256(rendition.data).digest()
    assert (rendition.width, rendition.height) == (640, 320)
    assert (rendition.source_width, rendition.source_height) == (1000, 500)
    assert (rendition.source_format, rendition.source_bytes) == ("png", len(data))
    assert Image.open(BytesIO(rendition.data)).size == (640, 320)


@pytest.mark.parametrize("data", [*UNCHANGED.values(), *ENCODED.values()])
def test_a_rendition_of_a_rendition_is_itself(data: bytes) -> None:
    """A stored rendition would be stored again byte for byte."""
    once = render(data)
    assert render(data) == once
    assert render(once.data).data == once.data


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("photo_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_every_orientation_comes_out_upright(
    photo_format: str, orientation: int, order: str
) -> None:
    """All eight, in both byte orders, in every format that has an orientation."""
    block = odd.exif(orientation, order=order)
    rendition = render(odd.save(odd.turned(orientation), photo_format, quality=95, exif=block))
    assert (rendition.width, rendition.height) == (96, 64)
    assert_shows(rendition, odd.QUADRANTS, tolerance=12)


GREY = {
    "PNG, grey": odd.save(odd.grey_picture(), "PNG"),
    "PNG, 16 bits": odd.png_16_bit_grey(),
    "PNG, grey and opaque alpha": odd.save(odd.grey_picture().convert("LA"), "PNG"),
    "WebP": odd.save(odd.grey_picture(), "WEBP", lossless=True),
    "GIF": odd.save(odd.grey_picture(), "GIF"),
    "JPEG, large": odd.jpeg(odd.grey_picture(1200, 800)),
    "JPEG, turned": odd.jpeg(odd.grey_picture().rotate(180), exif=odd.exif(3)),
}


@pytest.mark.parametrize("data", GREY.values(), ids=GREY.keys())
def test_grey_stays_grey(data: bytes) -> None:
    """With 8 and with 16 bits."""
    assert_shows(render(data), odd.GREY_QUADRANTS)


def test_one_bit_is_black_and_white() -> None:
    """A set bit is white, not 1 of 255."""
    image = Image.new("1", (96, 64), 0)
    image.paste(1, (48, 0, 96, 64))
    assert_shows(render(odd.save(image, "PNG")), np.array([[0, 255], [0, 255]]))


@pytest.mark.parametrize(
    "data",
    [
        odd.see_through("PNG"),
        odd.see_through("WEBP", lossless=True),
        odd.see_through("AVIF", quality=95),
        odd.see_through_palette("PNG"),
        odd.see_through_palette("GIF"),
        odd.see_through("TIFF"),
        odd.heic(odd.see_through_image()),
        odd.png_16_bit_see_through(),
    ],
    ids=["PNG", "WebP", "AVIF", "palette PNG", "palette GIF", "TIFF", "HEIC", "16-bit RGB"],
)
def test_transparency_goes_over_white(data: bytes) -> None:
    """Transparent pixels become white, not black."""
    colours = quadrants_of(render(data))
    assert np.abs(colours[:, 1] - WHITE).max() <= 6
    assert np.abs(colours[0, 0] - odd.QUADRANTS[0, 0]).max() <= 10


def test_half_transparency_is_mixed_with_white() -> None:
    """Half-transparent grey is half way to white; a transparent RGB value becomes white."""
    half = Image.new("LA", (96, 64), (100, 128))
    expected = np.full((2, 2), round(100 * 128 / 255 + 255 * 127 / 255))
    assert_shows(render(odd.save(half, "PNG")), expected)
    rgb = odd.save(Image.new("RGB", (96, 64), (10, 20, 30)), "PNG", transparency=(10, 20, 30))
    assert_shows(render(rgb), np.full((2, 2), 255))


@pytest.mark.parametrize("size", [(1000, 16), (16, 1000), (65_000, 16), (641, 640), (1281, 961)])
@pytest.mark.parametrize("photo_format", ["JPEG", "PNG"])
def test_any_shape_fits(photo_format: str, size: tuple[int, int]) -> None:
    """The longest side is 640, and no side becomes 0."""
    rendition = render(odd.save(odd.picture(*size), photo_format))
    assert max(rendition.width, rendition.height) == LONGEST_SIDE
    scale = 640 / max(size)
    assert (rendition.width, rendition.height) == tuple(
        max(1, round(side * scale)) for side in size
    )
    assert Image.open(BytesIO(rendition.data)).size == (rendition.width, rendition.height)


def test_bands_are_not_visible() -> None:
    """A photo reduced in several bands equals one that is reduced as a whole."""
    image = odd.noisy(2700, 1850)
    rendition = render(odd.save(image, "PNG", compress_level=1))
    whole = image.reduce(2).resize((640, round(1850 * 640 / 2700)), Image.Resampling.BILINEAR)
    assert np.abs(pixels_of(rendition) - np.asarray(whole).astype(int)).mean() < 3


def test_rare_subsampling_is_read() -> None:
    """3x1, which the fast decoder rejects, is decoded by Pillow."""
    data = odd.jpeg_with_rare_subsampling()
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(data)
    assert_shows(render(data), odd.QUADRANTS)


def test_padding_before_the_end_is_accepted() -> None:
    """A complete picture with a few extra bytes before its end marker is encoded again."""
    data = odd.jpeg()
    rendition = render(data[:-2] + b"\x11" * 8 + b"\xff\xd9")
    assert_shows(rendition, odd.QUADRANTS)
    assert simplejpeg.decode_jpeg(rendition.data).shape == (64, 96, 3)


def test_bytes_after_the_end_are_dropped() -> None:
    """Data after the end of a JPEG is not stored."""
    data = odd.jpeg()
    assert render(data + b"<script>" * 1000).data == render(data).data


REJECTED = {
    "empty": (b"", Reason.PHOTO_EMPTY),
    "HTML": (b"<!doctype html><title>404</title>", Reason.PHOTO_UNKNOWN_FORMAT),
    "zeros": (bytes(10_000), Reason.PHOTO_UNKNOWN_FORMAT),
    "JPEG 2000": (odd.save(odd.picture(), "JPEG2000"), Reason.PHOTO_UNKNOWN_FORMAT),
    "HEIC without meta": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Reason.PHOTO_BROKEN),
    "HEIC, half": (odd.heic(odd.noisy(200, 200))[:2_000], Reason.PHOTO_TRUNCATED),
    "BMP, half": (odd.save(odd.noisy(200, 200), "BMP")[:60_000], Reason.PHOTO_TRUNCATED),
    "BMP of 64250x64250": (odd.bmp_claiming(64_250, 64_250), Reason.PHOTO_TOO_LARGE),
    "TIFF, without its pixels": (odd.save(odd.noisy(99, 99), "TIFF")[:200], Reason.PHOTO_TRUNCATED),
    "two bytes of a JPEG": (b"\xff\xd8", Reason.PHOTO_TRUNCATED),
    "JPEG without a picture": (b"\xff\xd8\xff\xd9", Reason.PHOTO_BROKEN),
    "JPEG, 12 bits": (
        odd.jpeg().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
        Reason.PHOTO_UNKNOWN_FORMAT,
    ),
    "JPEG, 97 % of the rows": (odd.jpeg_cut(0.97), Reason.PHOTO_TRUNCATED),
    "PNG, 97 % of the rows": (odd.png_cut(0.97), Reason.PHOTO_TRUNCATED),
    "JPEG, small, half": (odd.jpeg(odd.noisy(400, 300))[:9000], Reason.PHOTO_TRUNCATED),
    "JPEG, large, half": (odd.jpeg(odd.noisy(900, 700))[:40_000], Reason.PHOTO_TRUNCATED),
    "JPEG, half, end marker put back": (
        odd.jpeg(odd.noisy(400, 300))[:9000] + b"\xff\xd9",
        Reason.PHOTO_TRUNCATED,
    ),
    "JPEG without quantisation": (
        odd.jpeg(odd.noisy(400, 300)).replace(b"\xff\xdb", b"\xff\xe5"),
        Reason.PHOTO_BROKEN,
    ),
    "JPEG, endless scans": (odd.jpeg_with_scans(500), Reason.PHOTO_BROKEN),
    "JPEG of 64250x64250": (odd.jpeg_claiming(64_250, 64_250), Reason.PHOTO_TOO_LARGE),
    "JPEG of no height": (odd.jpeg_claiming(96, 0), Reason.PHOTO_TOO_SMALL),
    "PNG of 64250x64250": (odd.png_claiming(64_250, 64_250), Reason.PHOTO_TOO_LARGE),
    "PNG of 2^31": (odd.png_claiming(2**31 - 1, 2**31 - 1), Reason.PHOTO_TOO_LARGE),
    "PNG of no pixels": (odd.png_claiming(0, 0), Reason.PHOTO_TOO_SMALL),
    "PNG, too few pixels": (odd.png_claiming(640, 640), Reason.PHOTO_TRUNCATED),
    "PNG, half": (odd.save(odd.noisy(200, 200), "PNG")[:20_000], Reason.PHOTO_TRUNCATED),
    "PNG without header": (b"\x89PNG\r\n\x1a\n" + bytes(40), Reason.PHOTO_BROKEN),
    "GIF of 65535x65535": (odd.gif_claiming(65_535, 65_535), Reason.PHOTO_TOO_LARGE),
    "GIF, overhanging frame": (
        odd.gif_with_overhanging_frame(65_535, 65_535),
        Reason.PHOTO_TOO_LARGE,
    ),
    "GIF, overhanging a little": (
        odd.gif_with_overhanging_frame(9_000, 9_999),
        Reason.PHOTO_TOO_LARGE,
    ),
    "GIF without image": (b"GIF89a\x60\0\x40\0\0\0\0;", Reason.PHOTO_BROKEN),
    "GIF, half": (odd.save(odd.noisy(200, 200), "GIF")[:9_000], Reason.PHOTO_TRUNCATED),
    "WebP of 16383x16383": (odd.webp_claiming(16_383, 16_383), Reason.PHOTO_TOO_LARGE),
    "WebP, half": (odd.save(odd.noisy(200, 200), "WEBP")[:2_000], Reason.PHOTO_TRUNCATED),
    "WebP without image": (b"RIFF\x10\0\0\0WEBPEXIF" + bytes(20), Reason.PHOTO_BROKEN),
    "AVIF, half": (odd.save(odd.noisy(200, 200), "AVIF")[:2_000], Reason.PHOTO_TRUNCATED),
    "AVIF without meta": (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", Reason.PHOTO_BROKEN),
    "a pixel": (odd.save(Image.new("RGB", (1, 1)), "PNG"), Reason.PHOTO_TOO_SMALL),
    "a tracking line": (odd.save(Image.new("RGB", (640, 15)), "JPEG"), Reason.PHOTO_TOO_SMALL),
}


@pytest.mark.parametrize(("data", "reason"), REJECTED.values(), ids=REJECTED.keys())
def test_an_unusable_photo_has_its_reason(data: bytes, reason: Reason) -> None:
    """One reason for each case, always in a BadInputError."""
    assert reason_of(data) is reason


def test_a_heic_without_its_decoder_is_no_broken_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pillow-heif, or a library that it needs, can't be loaded, the reason says so."""
    data = odd.heic()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadInputError, match="pillow-heif can't be loaded") as caught:
        make_rendition(data, max_pixels=MAX_PIXELS)
    assert caught.value.reason is Reason.PHOTO_UNKNOWN_FORMAT


def test_formats_that_cannot_be_scaled_have_a_lower_cap() -> None:
    """Twenty-five million pixels by default; a JPEG of the same size is accepted."""
    large = odd.picture(5001, 5000)
    assert reason_of(odd.save(large, "PNG", compress_level=1)) is Reason.PHOTO_TOO_LARGE
    assert render(odd.jpeg(large)).width == 640
    small = odd.save(odd.picture(), "PNG")
    with pytest.raises(BadInputError, match="96x64 pixels, expected at most 6000"):
        make_rendition(small, max_pixels=MAX_PIXELS, max_unscaled_pixels=6000)


@pytest.mark.parametrize("photo_format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF"])
def test_the_cap_on_pixels_is_inclusive(photo_format: str) -> None:
    """Exactly the limit passes, one pixel more does not."""
    data = odd.save(odd.picture(100, 50), photo_format)
    assert make_rendition(data, max_pixels=5_000).width == 100
    assert reason_of(data, max_pixels=4_999) is Reason.PHOTO_TOO_LARGE


MEASURE_MEMORY = """
import resource, sys
from ops.errors import BadInputError
from ops.photos.rendition import make_rendition

photo = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    make_rendition(photo, max_pixels=50_000_000)
    print("made")
except BadInputError as error:
    print(error.reason)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ("photo", "outcome", "megabytes"),
    [
        (odd.png_inflating(300_000_000), "made", 8),
        (odd.png_with_text_bomb(300_000_000), "made", 8),
        (odd.webp_claiming(16_383, 16_383), "photo_too_large", 8),
        (odd.webp_claiming(7_000, 7_000), "photo_too_large", 8),
        (odd.avif_claiming(100, 100, coded=(4000, 4000)), "photo_broken", 8),
        # 24 million pixels of one byte, the bytes themselves, and a band of them as RGBA
        (odd.see_through_palette("PNG", 6000, 4000), "made", 24 + 30),
        (odd.jpeg(odd.picture(6000, 4000)), "made", 12),
    ],
    ids=[
        *("endless pixels", "text bomb", "canvas", "smaller canvas", "lying AVIF"),
        *("large palette", "large JPEG"),
    ],
)
def test_memory_follows_the_picture_and_not_the_claim(
    photo: bytes, outcome: str, megabytes: int
) -> None:
    """Bombs need almost no memory, large photos no full-size copy; measured in a subprocess."""
    output = subprocess.run(
        [sys.executable, "-c", MEASURE_MEMORY],
        input=photo,
        capture_output=True,
        check=True,
        cwd=Path(odd.__file__).parents[2],
    ).stdout.split()
    assert output[0].decode() == outcome
    assert int(output[1]) <= megabytes * 1024


CORRUPTIBLE = [
    odd.jpeg(odd.noisy(120, 90), exif=odd.exif(6)),
    odd.jpeg(odd.noisy(120, 90), icc_profile=odd.display_profile()),
    odd.jpeg(odd.noisy(120, 90), progressive=True, restart_marker_rows=2),
    odd.jpeg(odd.noisy(700, 300)),
    odd.jpeg(odd.noisy(90, 60).convert("CMYK")),
    odd.save(odd.noisy(60, 50), "PNG"),
    odd.save(odd.noisy(60, 50).convert("RGBA"), "PNG", exif=odd.exif(5)),
    odd.save(odd.noisy(60, 50).quantize(64), "PNG", transparency=3),
    odd.png_16_bit_grey(),
    odd.png_with_odd_animation(),
    odd.save(odd.noisy(60, 50), "WEBP", exif=odd.exif(3)),
    odd.save(odd.noisy(60, 50).convert("RGBA"), "WEBP", lossless=True),
    odd.animated("WEBP"),
    odd.animated("GIF"),
    odd.see_through_palette("GIF"),
    odd.save(odd.noisy(60, 50), "GIF", comment=b"x" * 300),
    odd.save(odd.noisy(60, 50), "AVIF", exif=odd.exif(8)),
    odd.see_through("AVIF"),
    odd.heic(odd.noisy(60, 50), exif=odd.exif(6)),
    odd.heic(odd.see_through_image()),
    odd.heic(odd.noisy(200, 150), tile_size=64),
    odd.save(odd.noisy(60, 50), "BMP"),
    odd.save(odd.noisy(60, 50).quantize(16), "BMP"),
    odd.save(odd.noisy(60, 50), "TIFF"),
    odd.save(odd.noisy(60, 50), "TIFF", compression="jpeg"),
    odd.save(odd.noisy(60, 50), "TIFF", compression="tiff_adobe_deflate"),
    odd.jpeg(odd.noisy(90, 60).convert("CMYK"), subsampling="4:2:0"),
    odd.jpeg(odd.noisy(90, 60), icc_profile=odd.wide_profile()),
    odd.jpeg_with_rare_subsampling(),
]


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.sampled_from(CORRUPTIBLE),
    seed=st.integers(0, 2**32),
    head=st.booleans(),
    n_changes=st.integers(0, 12),
    cut=st.one_of(st.none(), st.floats(0, 1)),
)
def test_corruption_gives_a_rendition_or_a_reason(
    data: bytes, seed: int, head: bool, n_changes: int, cut: float | None
) -> None:
    """Changed bytes or a missing end give a whole rendition or a reason, never a warning."""
    rng, corrupted = random.Random(seed), bytearray(data)
    for _ in range(n_changes):
        at = rng.randrange(min(len(corrupted), 200) if head else len(corrupted))
        corrupted[at] = rng.choice((0, 255, rng.randrange(256)))
    if cut is not None:
        del corrupted[int(cut * len(corrupted)) :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            rendition = make_rendition(bytes(corrupted), max_pixels=1_000_000)
        except BadInputError as error:
            assert error.reason.startswith("photo_")
            assert error.__cause__ is None or not isinstance(error.__cause__, Warning)
            return
    assert simplejpeg.decode_jpeg(rendition.data).shape == (rendition.height, rendition.width, 3)
    assert max(rendition.width, rendition.height) <= LONGEST_SIDE
    assert make_thumbnail(rendition.data)


@pytest.mark.parametrize("data", CORRUPTIBLE)
def test_every_truncation_is_detected(data: bytes) -> None:
    """A file cut at any byte is never accepted as complete."""
    if data[:6] in (b"GIF87a", b"GIF89a"):
        pytest.skip("a GIF may be cut after its first frame: the animation is not read")
    if data[:4] == b"II*\0":
        pytest.skip("a TIFF's pixels may come before other parts of it")
    for end in sorted({*range(1, 64), *range(64, len(data), max(1, len(data) // 60))}):
        if end < len(data):
            try:
                assert render(data[:end]).note is PhotoNote.PHOTO_INCOMPLETE
            except BadInputError as error:
                assert error.reason in (
                    *(Reason.PHOTO_TRUNCATED, Reason.PHOTO_BROKEN),
                    *(Reason.PHOTO_UNKNOWN_FORMAT, Reason.PHOTO_TOO_SMALL),
                )


def test_truncated_images_are_rejected_whatever_pillows_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another library's LOAD_TRUNCATED_IMAGES does not change what a JPEG's rendition is."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert reason_of(odd.jpeg(odd.noisy(900, 700))[:40_000]) is Reason.PHOTO_TRUNCATED


def test_threads_give_the_same_bytes() -> None:
    """Eight concurrent threads give the same bytes as one."""
    photos = [*UNCHANGED.values(), *ENCODED.values()]
    alone = [render(data).data for data in photos]
    seen: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: seen.append([render(data).data for data in photos]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [alone] * 8


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (160, 120)), ((96, 64), (96, 64)), ((640, 16), (160, 4))]
)
def test_a_thumbnail_fits_and_is_never_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    """The longest side is 160 at most, the picture is the same, and so are the bytes each time."""
    data = render(odd.jpeg(odd.picture(*size))).data
    thumbnail = make_thumbnail(data)
    assert Image.open(BytesIO(thumbnail)).size == expected
    assert make_thumbnail(data) == thumbnail
    if min(expected) > 32:
        assert_shows(render(thumbnail), odd.QUADRANTS, tolerance=12)


def test_a_thumbnail_of_a_corrupted_rendition_is_rejected() -> None:
    """Damage in the store gives a reason, not a crash."""
    data = render(odd.jpeg(odd.noisy(300, 200))).data
    for corrupted, reason in (
        (data[:3000], Reason.PHOTO_TRUNCATED),
        (b"\xff\xd8\xff" + bytes(50), Reason.PHOTO_BROKEN),
        (b"", Reason.PHOTO_BROKEN),
    ):
        with pytest.raises(BadInputError) as caught:
            make_thumbnail(corrupted)
        assert caught.value.reason is reason
