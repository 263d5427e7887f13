"""Alters photos as sellers and sites do: encoding, size, light, marks, borders, crops, screens.

The same photos and random generator give the same pixels. Each altered photo is encoded as JPEG.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from lalafo_assets.bench.quality.degrade import add_border, gamma, gaussian_blur, jpeg
from lalafo_assets.bench.quality.screens import WORDS, screenshot
from ops.photos.pixels import Pixels

Alter = Callable[[Pixels, Pixels, np.random.Generator], Pixels]
"""Alters the first photo; a collage takes the second one too."""

LONGEST = 640  # pixels, as of a rendition
QUALITIES = (60, 95)  # of JPEG, from and up to


def _resized(photo: Pixels, factor: float) -> Pixels:
    height, width = photo.shape[:2]
    size = max(16, round(width * factor)), max(16, round(height * factor))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def _cropped(photo: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Without this share of the width and of the height, cut at random sides."""
    height, width = photo.shape[:2]
    rows, columns = round(height * (1 - share)), round(width * (1 - share))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return np.ascontiguousarray(photo[top : top + rows, left : left + columns])


def _rotated(photo: Pixels, degrees: float, rng: np.random.Generator) -> Pixels:
    """Turned, either with the corners of one colour or cropped to the largest middle without."""
    image = Image.fromarray(photo)
    fill = (int(rng.choice([0, 255])),) * 3
    if rng.integers(2):
        return np.asarray(image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=fill))
    turned = image.rotate(degrees, Image.Resampling.BICUBIC)
    lost = math.tan(math.radians(abs(degrees))) / 2
    x, y = round(image.height * lost) + 1, round(image.width * lost) + 1
    return np.asarray(turned.crop((x, y, image.width - x, image.height - y)))


def _padded(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """In the middle of a square that is 0 to 15 % larger than the longest side."""
    height, width = photo.shape[:2]
    side = round(max(height, width) * rng.uniform(1, 1.15))
    grey = int(rng.choice([0, 255, 238]))
    out = np.full((side, side, 3), grey, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    out[top : top + height, left : left + width] = photo
    return out


def _words(rng: np.random.Generator, count: int) -> str:
    return " ".join(str(it) for it in rng.choice(WORDS, count))


def _watermarked(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Half transparent text across the photo, once or in rows."""
    height, width = photo.shape[:2]
    layer = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(layer)
    font = ImageFont.load_default(max(12, width // int(rng.integers(8, 16))))
    rows = int(rng.choice([1, 1, 3, 5]))
    for row in range(rows):
        y = height * (row + 0.5) / rows + rng.uniform(-0.2, 0.2) * height / rows
        draw.text((rng.uniform(0, 0.3) * width, y), _words(rng, 3), fill=255, font=font)
    layer = layer.rotate(float(rng.choice([0, 0, 20, 35])))
    share = np.asarray(layer, np.float32)[..., None] / 255 * rng.uniform(0.35, 0.7)
    mark = float(rng.choice([255, 255, 0]))
    return _bytes(photo * (1 - share) + mark * share)


def _text_band(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """A band of 8 to 20 % of the height with text, over the photo's upper or lower edge."""
    height, width = photo.shape[:2]
    rows = max(12, round(height * rng.uniform(0.08, 0.2)))
    dark = bool(rng.integers(2))
    band = Image.new("RGB", (width, rows), (25, 25, 30) if dark else (250, 240, 120))
    font = ImageFont.load_default(max(10, rows // 2))
    fill = (255, 255, 255) if dark else (0, 0, 0)
    ImageDraw.Draw(band).text((8, rows // 6), _words(rng, 8), fill=fill, font=font)
    out = photo.copy()
    top = 0 if rng.integers(2) else height - rows
    out[top : top + rows] = np.asarray(band)
    return out


def _collage(photo: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    """Two whole photos of one height side by side, or of one width, one above the other."""
    across = bool(rng.integers(2))
    both = [Image.fromarray(it) for it in (photo, other)]
    if rng.integers(2):
        both.reverse()
    side = 480
    scaled = [
        it.resize(
            (round(it.width * side / it.height), side)
            if across
            else (side, round(it.height * side / it.width))
        )
        for it in both
    ]
    gap = int(rng.choice([0, 6, 12]))
    grey = (int(rng.choice([0, 255])),) * 3
    first, second = scaled
    if across:
        out = Image.new("RGB", (first.width + gap + second.width, side), grey)
        out.paste(second, (first.width + gap, 0))
    else:
        out = Image.new("RGB", (side, first.height + gap + second.height), grey)
        out.paste(second, (0, first.height + gap))
    out.paste(first, (0, 0))
    return np.asarray(out)


def _recoloured(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """As by a filter: grey, sepia, another saturation, or channels of another gain."""
    kind = int(rng.integers(4))
    if kind == 0:
        return np.asarray(Image.fromarray(photo).convert("L").convert("RGB"))
    if kind == 1:
        grey = ImageOps.grayscale(Image.fromarray(photo))
        return np.asarray(ImageOps.colorize(grey, (40, 20, 0), (255, 240, 200)))
    if kind == 2:
        luma = photo @ np.array([0.299, 0.587, 0.114])
        amount = rng.choice([0.4, 1.6, 2.0])
        return _bytes(luma[..., None] + amount * (photo - luma[..., None]))
    return _bytes(photo * rng.uniform(0.75, 1.25, 3))


def _sharpened(photo: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(photo).filter(ImageFilter.UnsharpMask(2, 120)))


def _bytes(values: np.ndarray) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _one_of(rng: np.random.Generator, *values: float) -> float:
    return float(rng.choice(values))


ALTERATIONS: dict[str, Alter] = {
    **{f"jpeg_q{it}": lambda p, _, __, q=it: jpeg(p, q) for it in (30, 50, 70, 90)},  # type: ignore[misc]
    "resized": lambda p, _, rng: _resized(p, _one_of(rng, 0.35, 0.5, 0.75, 1.3)),
    "gamma": lambda p, _, rng: gamma(p, _one_of(rng, 0.6, 0.75, 1.3, 1.6)),
    "blurred": lambda p, _, rng: gaussian_blur(p, _one_of(rng, 1, 1.5, 2, 3)),
    "sharpened": lambda p, _, __: _sharpened(p),
    "watermark": lambda p, _, rng: _watermarked(p, rng),
    "text_band": lambda p, _, rng: _text_band(p, rng),
    "colour_filter": lambda p, _, rng: _recoloured(p, rng),
    "mirrored": lambda p, _, __: np.ascontiguousarray(p[:, ::-1]),
    "border": lambda p, _, rng: add_border(p, rng.uniform(0.05, 0.35), rng),
    "padding": lambda p, _, rng: _padded(p, rng),
    "rotated": lambda p, _, rng: _rotated(p, rng.uniform(1, 5) * _one_of(rng, -1, 1), rng),
    "crop_5": lambda p, _, rng: _cropped(p, 0.05, rng),
    "crop_10": lambda p, _, rng: _cropped(p, 0.10, rng),
    "crop_25": lambda p, _, rng: _cropped(p, 0.25, rng),
    "screenshot": lambda p, _, rng: screenshot(p, rng.uniform(0.25, 0.5), rng),
    "collage": _collage,
    "mirrored_crop": lambda p, _, rng: np.ascontiguousarray(_cropped(p, 0.1, rng)[:, ::-1]),
}
"""By name. A crop of 25 takes 25 % off the width and off the height, 44 % of the area."""


def altered(name: str, photo: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    """A photo, altered, through JPEG, at most LONGEST pixels a side as its rendition would be."""
    pixels = ALTERATIONS[name](photo, other, rng)
    if not name.startswith("jpeg"):
        pixels = jpeg(pixels, int(rng.integers(*QUALITIES)))
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST, LONGEST))
    return np.asarray(image)


class Copy(NamedTuple):
    """An altered photo. `photo`: its index. `beside`: that of the one that a collage shows too."""

    photo: int
    name: str
    beside: int | None
    pixels: Pixels


def altered_copies(
    photos: Sequence[Pixels], *, seed: int, names: Sequence[str] = tuple(ALTERATIONS)
) -> Iterator[Copy]:
    """Every photo under each name; one does not depend on which other names are given."""
    for index, photo in enumerate(photos):
        for name in names:
            rng = np.random.default_rng((seed, index, list(ALTERATIONS).index(name)))
            step = 1 + int(rng.integers(max(1, len(photos) - 1)))
            beside = (index + step) % len(photos)
            pixels = altered(name, photo, photos[beside], rng)
            yield Copy(index, name, beside if name == "collage" else None, pixels)
