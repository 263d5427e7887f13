"""Colours: profiles are converted to sRGB, and every mode is read as Pillow reads it."""

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageCms, ImageOps

from ops.photos.rendition import make_rendition
from ops.types import Rendition
from tests.support import odd_photos as odd

P3, ADOBE = odd.wide_profile(), odd.wide_profile("Adobe RGB")
SRGB = ImageCms.createProfile("sRGB")


def render(data: bytes) -> Rendition:
    return make_rendition(data, max_pixels=50_000_000)


def pixels_of(rendition: Rendition) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(rendition.data)).convert("RGB")).astype(int)


def as_srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(255 * curved)


def p3_to_srgb(colour: tuple[int, int, int]) -> np.ndarray:
    """By the primaries' matrices; https://www.color.org/chardata/rgb/DisplayP3.xalter"""
    encoded = np.array(colour) / 255
    curve = ((encoded + 0.055) / 1.055) ** 2.4
    linear = np.where(encoded <= 0.04045, encoded / 12.92, curve)
    matrix = np.array(
        [[1.2249, -0.2247, -0.0002], [-0.0420, 1.0419, 0.0001], [-0.0197, -0.0786, 1.0983]]
    )
    return as_srgb(matrix @ linear)


MUTED = (180, 90, 60)
WIDE = {
    "JPEG": lambda image: odd.jpeg(image, icc_profile=P3),
    "JPEG, large": lambda image: odd.jpeg(image.resize((1300, 900)), icc_profile=P3),
    "JPEG, progressive": lambda image: odd.jpeg(image, icc_profile=P3, progressive=True),
    "JPEG, incomplete": lambda image: odd.jpeg(image, icc_profile=P3)[:-2],
    "PNG": lambda image: odd.save(image, "PNG", icc_profile=P3),
    "PNG, palette": lambda image: odd.save(image.quantize(4), "PNG", icc_profile=P3),
    "PNG, opaque alpha": lambda image: odd.save(image.convert("RGBA"), "PNG", icc_profile=P3),
    "WebP": lambda image: odd.save(image, "WEBP", icc_profile=P3, lossless=True),
    "AVIF": lambda image: odd.save(image, "AVIF", icc_profile=P3, quality=95),
    "HEIC": lambda image: odd.heic(image, icc_profile=P3, icc_profile_type="prof"),
    "TIFF": lambda image: odd.save(image, "TIFF", icc_profile=P3),
}


@pytest.mark.parametrize("encode", WIDE.values(), ids=WIDE.keys())
def test_a_wide_gamut_becomes_srgb(encode: Callable[[Image.Image], bytes]) -> None:
    """Display P3, which telephones write, in every format with profiles."""
    colours = pixels_of(render(encode(Image.new("RGB", (96, 64), MUTED))))
    assert np.abs(colours - p3_to_srgb(MUTED)).max() <= 4
    assert np.abs(p3_to_srgb(MUTED) - MUTED).max() > 8, "the conversion changes this colour"


def test_adobe_rgb_becomes_srgb() -> None:
    """As LittleCMS converts the pixels themselves."""
    image = odd.picture()
    source = ImageCms.ImageCmsProfile(BytesIO(ADOBE))
    expected = ImageCms.profileToProfile(image, source, SRGB)
    assert expected is not None
    found = pixels_of(render(odd.save(image, "PNG", icc_profile=ADOBE)))
    assert np.abs(found - np.asarray(expected).astype(int)).mean() < 2
    assert np.abs(np.asarray(image) - np.asarray(expected).astype(int)).mean() > 5


def test_a_printers_profile_is_applied() -> None:
    """CMYK by its profile: this printer has black ink only, so that all photos are grey."""
    inks = Image.merge("CMYK", [Image.new("L", (96, 64), ink) for ink in (255, 255, 255, 0)])
    inks.paste((0, 0, 0, 255), (48, 0, 96, 64))
    for data in (
        odd.jpeg(inks, icc_profile=odd.cmyk_profile()),
        odd.jpeg(inks, icc_profile=odd.cmyk_profile(), subsampling="4:2:0"),
        odd.save(inks, "TIFF", icc_profile=odd.cmyk_profile()),
    ):
        colours = pixels_of(render(data))
        assert colours[:, :40].min() > 240
        assert colours[:, 56:].max() < 15


def test_srgb_profiles_change_nothing() -> None:
    """A small JPEG with one keeps its coded data."""
    plain = odd.jpeg(odd.noisy(96, 64))
    with_profile = odd.jpeg(odd.noisy(96, 64), icc_profile=odd.display_profile())
    assert render(with_profile).data == render(plain).data


def test_a_small_jpeg_with_a_wide_gamut_is_encoded_again() -> None:
    """Its coded data means other colours without the profile."""
    wide = odd.jpeg(odd.noisy(96, 64), icc_profile=P3)
    once = render(wide)
    assert not np.array_equal(simplejpeg.decode_jpeg(once.data), simplejpeg.decode_jpeg(wide))
    assert b"ICC_PROFILE" not in once.data
    assert render(once.data).data == once.data


INVALID = {
    "no profile at all": b"junk" * 40,
    "empty": b"",
    "cut": P3[:200],
    "another colour space": odd.cmyk_profile(),
    "ten megabytes": P3 + bytes(10_000_000),
    "without primaries": P3.replace(b"rXYZ", b"abcd", 1),
}


@pytest.mark.parametrize("profile", INVALID.values(), ids=INVALID.keys())
def test_an_invalid_profile_is_ignored(profile: bytes) -> None:
    """The photo is read as sRGB; a small JPEG keeps its coded data."""
    plain = odd.jpeg()
    assert render(odd.jpeg(icc_profile=profile)).data == render(plain).data
    png = odd.save(odd.noisy(96, 64), "PNG", icc_profile=profile)
    assert render(png).data == render(odd.save(odd.noisy(96, 64), "PNG")).data


def test_transparent_pixels_are_converted_before_they_meet_white() -> None:
    """Half-transparent Display P3 is half way from its sRGB colour to white."""
    image = Image.new("RGBA", (96, 64), (*MUTED, 128))
    colours = pixels_of(render(odd.save(image, "PNG", icc_profile=P3)))
    expected = p3_to_srgb(MUTED) * 128 / 255 + 127
    assert np.abs(colours - expected).max() <= 4


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6"/></x:xmpmeta>'
UPRIGHT_EXIF, TURNED_EXIF, ODD_EXIF = odd.exif(1), odd.exif(6), odd.exif(9)


@pytest.mark.parametrize("photo_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("exif", "turned"),
    [(b"", True), (UPRIGHT_EXIF, False), (TURNED_EXIF, True), (ODD_EXIF, True)],
    ids=["XMP alone", "Exif says upright", "both", "Exif invalid"],
)
def test_the_orientation_is_that_of_the_first_valid_source(
    photo_format: str, exif: bytes, turned: bool
) -> None:
    """Exif, else XMP."""
    options: dict[str, object] = {} if exif == b"" else {"exif": exif}
    if photo_format == "PNG":
        data = odd.png_with_xmp(XMP, exif)
    else:
        data = odd.save(odd.picture(), photo_format, xmp=XMP, **options)
    assert (render(data).width, render(data).height) == ((64, 96) if turned else (96, 64))


@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9])
def test_any_integer_may_hold_the_orientation(kind: int) -> None:
    """Writers use all of TIFF's integer types, and Pillow reads them."""
    assert render(odd.jpeg(exif=odd.exif(6, kind=kind))).width == 64


def as_pillow_reads(data: bytes) -> Image.Image:
    """Upright RGB over white, by Pillow alone."""
    image = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    if image.mode == "I;16":
        deep = np.asarray(image)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def with_alpha(image: Image.Image, mode: str = "RGBA") -> Image.Image:
    faded = image.convert("RGBA")
    faded.putalpha(odd.noisy(*image.size, seed=5).convert("L"))
    return faded.convert(mode)


def cases() -> dict[str, bytes]:
    """A photo of every mode, format and coding that is accepted."""
    noisy, found = odd.noisy(200, 150), {}
    modes = {
        **{mode: noisy.convert(mode) for mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB")},
        **{"RGBA": with_alpha(noisy), "LA": with_alpha(noisy, "LA"), "PA": noisy.quantize(9)},
        "I;16": Image.fromarray(np.asarray(noisy.convert("L")).astype(np.uint16) * 257),
    }
    by_format = {
        "PNG": ("1", "L", "P", "RGB", "RGBA", "LA", "I;16"),
        "BMP": ("1", "L", "P", "RGB", "RGBA"),
        "TIFF": ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "I;16"),
        "WEBP": ("L", "RGB", "RGBA"),
        "AVIF": ("L", "RGB", "RGBA"),
        "GIF": ("1", "L", "P", "RGB"),
        "JPEG": ("1", "L", "RGB", "CMYK", "YCbCr"),
    }
    for photo_format, names in by_format.items():
        for name in names:
            found[f"{photo_format} {name}"] = odd.save(modes[name], photo_format)
    for bits in (1, 2, 4):
        found[f"PNG, {bits} bits"] = odd.save(noisy.quantize(2**bits), "PNG", bits=bits)
    for coding in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "zstd"):
        found[f"TIFF, {coding}"] = odd.save(noisy, "TIFF", compression=coding)
    for coding in ("group3", "group4"):
        found[f"TIFF, {coding}"] = odd.save(modes["1"], "TIFF", compression=coding)
    for sampling in ("4:4:4", "4:2:2", "4:2:0"):
        for progressive in (False, True):
            options = {"subsampling": sampling, "progressive": progressive}
            found[f"JPEG {options}"] = odd.jpeg(noisy, **options)
            found[f"JPEG CMYK {options}"] = odd.jpeg(modes["CMYK"], **options)
    found["JPEG, RGB"] = odd.jpeg(noisy, keep_rgb=True)
    found["PNG, transparent palette"] = odd.save(
        noisy.quantize(9), "PNG", transparency=bytes(range(0, 180, 20))
    )
    found["PNG, transparent colour"] = odd.save(noisy.quantize(9), "PNG", transparency=3)
    found["PNG, transparent grey"] = odd.save(
        modes["L"].point(lambda v: v // 60 * 60), "PNG", transparency=120
    )
    found["GIF, transparent"] = odd.save(noisy.quantize(9), "GIF", transparency=3)
    found["WebP, lossless"] = odd.save(modes["RGBA"], "WEBP", lossless=True)
    found["HEIC"] = odd.heic(noisy)
    found["HEIC, alpha"] = odd.heic(modes["RGBA"])
    found["HEIC, grey"] = odd.heic(modes["L"])
    found["HEIC, 4:2:0"] = odd.heic(noisy, chroma=420)
    for orientation in (3, 6, 8):
        found[f"HEIC, turned {orientation}"] = odd.heic(noisy, exif=odd.exif(orientation))
        found[f"TIFF, turned {orientation}"] = odd.save(noisy, "TIFF", exif=odd.exif(orientation))
    return found


CASES = cases()


@pytest.mark.parametrize("data", CASES.values(), ids=CASES.keys())
def test_every_class_of_photo_is_read_as_pillow_reads_it(data: bytes) -> None:
    """Nothing differs but what encoding as a JPEG changes."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    expected = as_pillow_reads(data)
    again = Image.open(BytesIO(odd.save(expected, "JPEG", quality=90)))
    encoded = np.abs(np.asarray(again).astype(int) - np.asarray(expected).astype(int))
    found = np.abs(pixels_of(render(data)) - np.asarray(expected).astype(int))
    assert found.shape == encoded.shape
    assert found.mean() <= encoded.mean() + 0.5
    assert np.percentile(found, 99.9) <= np.percentile(encoded, 99.9) + 8


def test_rare_libraries_are_loaded_by_the_photos_that_need_them() -> None:
    """Neither libheif nor LittleCMS, until the first HEIC and the first profile."""
    program = "import sys, ops.photos.rendition; print(*sys.modules)"
    root = Path(odd.__file__).parents[2]
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=root, text=True
    ).stdout.split()
    assert "PIL.Image" in loaded
    assert not {"pillow_heif", "PIL.ImageCms"} & set(loaded)
