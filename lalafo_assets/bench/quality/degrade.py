"""Degrades photos by known amounts: light, blur, size, borders, collages, text, JPEG.

The same photo, amount and random generator give the same pixels. Amounts of zero, or one where the
amount is a factor, leave a photo as it is.
"""

import math
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ops.photos.pixels import Pixels
from ops.photos.quality.exposure import LINEAR

GRIDS = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2), 6: (3, 2), 9: (3, 3)}
"""The rows and columns of a collage, by the number of its photos."""

COLLAGE_SIDE = 640  # pixels of the longest side


def expose(photo: Pixels, stops: float) -> Pixels:
    """Multiply the linear light by 2 ** stops and clip it, as a camera's exposure does."""
    light = np.clip(LINEAR * 2.0**stops, 0, 1)
    # IEC 61966-2-1, sRGB.
    codes = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return _bytes(codes * 255)[photo]


def gamma(photo: Pixels, exponent: float) -> Pixels:
    """Raise the code values to a power: black and white stay, 2 is darker, 0.5 brighter."""
    return _bytes(255 * (np.arange(256) / 255) ** exponent)[photo]


def gaussian_blur(photo: Pixels, sigma_px: float) -> Pixels:
    """Convolve with a Gaussian of this standard deviation."""
    from scipy.ndimage import gaussian_filter1d

    if sigma_px <= 0:
        return photo
    values = photo.astype(np.float32)
    for axis in (0, 1):
        values = gaussian_filter1d(values, sigma_px, axis=axis, mode="nearest")
    return _bytes(values)


def motion_blur(photo: Pixels, length_px: float, angle: float) -> Pixels:
    """Average along a line of this length, at an angle in radians; the margins are cut."""
    if length_px <= 1:
        return photo
    image = Image.fromarray(photo)
    places = np.linspace(-length_px / 2, length_px / 2, math.ceil(length_px) + 1)
    total = np.zeros(photo.shape, np.float32)
    for place in places:
        shift = (1, 0, place * math.cos(angle), 0, 1, place * math.sin(angle))
        moved = image.transform(
            image.size, Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR
        )
        total += np.asarray(moved, np.float32)
    margin = int(length_px / 2) + 2
    return _bytes(total / len(places))[margin:-margin, margin:-margin]


def shrink(photo: Pixels, factor: float) -> Pixels:
    """Scale both sides down by this factor, to at least a pixel."""
    if factor <= 1:
        return photo
    height, width = photo.shape[:2]
    size = max(1, round(width / factor)), max(1, round(height / factor))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def enlarge_again(photo: Pixels, factor: float) -> Pixels:
    """Scale down by this factor, and up to the size of before: a small photo, enlarged."""
    height, width = photo.shape[:2]
    small = Image.fromarray(shrink(photo, factor))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def add_border(photo: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Scale the photo down and put bars of one colour around it, of this share of the area: on all
    sides, at the left and right, or above and below."""
    if share <= 0:
        return photo
    height, width = photo.shape[:2]
    across, down = (
        (math.sqrt(1 - share), math.sqrt(1 - share)),
        (1 - share, 1.0),
        (1.0, 1 - share),
    )[int(rng.integers(3))]
    size = max(1, round(width * across)), max(1, round(height * down))
    grey = int(rng.choice([0, 255]))
    random = tuple(int(it) for it in rng.integers(0, 256, 3))
    out = Image.new("RGB", (width, height), random if rng.random() < 1 / 3 else (grey,) * 3)
    inner = Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS)
    out.paste(inner, ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(out)


def collage(photos: list[Pixels], rng: np.random.Generator) -> Pixels:
    """Put photos side by side in a grid of GRIDS, with or without lines between them."""
    if len(photos) == 1:
        return photos[0]
    rows, columns = GRIDS[len(photos)]
    if rng.integers(2):
        rows, columns = columns, rows
    gap, grey = int(rng.choice([0, 0, 4, 10])), int(rng.choice([0, 255]))
    height, width = photos[0].shape[:2]
    scale = COLLAGE_SIDE / max(height, width)
    out = Image.new("RGB", (round(width * scale), round(height * scale)), (grey,) * 3)
    cell = (out.width - gap * (columns - 1)) // columns, (out.height - gap * (rows - 1)) // rows
    for index, photo in enumerate(photos):
        at = index % columns * (cell[0] + gap), index // columns * (cell[1] + gap)
        out.paste(_filling(photo, cell), at)
    return np.asarray(out)


def jpeg(photo: Pixels, quality: int) -> Pixels:
    """Encode as JPEG and decode."""
    file = BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def cut_out(photo: Pixels, mask: NDArray[np.uint8], grey: int) -> Pixels:
    """The product on a ground of one grey value, by its mask, (H, W) uint8 with 255 inside."""
    return _composed(photo, np.full_like(photo, grey), mask)


def blur_background(photo: Pixels, mask: NDArray[np.uint8], sigma_px: float) -> Pixels:
    """Blur all but the product: a photo with a shallow depth of field."""
    return _composed(photo, gaussian_blur(photo, sigma_px), mask)


def _composed(inside: Pixels, outside: Pixels, mask: NDArray[np.uint8]) -> Pixels:
    from scipy.ndimage import gaussian_filter

    share = gaussian_filter((mask > 127).astype(np.float32), 1)[..., None]
    return _bytes(inside * share + outside * (1 - share))


def _filling(photo: Pixels, size: tuple[int, int]) -> Image.Image:
    """The middle of a photo, scaled to fill a size of (width, height)."""
    image = Image.fromarray(photo)
    scale = max(size[0] / image.width, size[1] / image.height)
    larger = math.ceil(image.width * scale), math.ceil(image.height * scale)
    image = image.resize(larger, Image.Resampling.LANCZOS)
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    return image.crop((left, top, left + size[0], top + size[1]))


def _bytes(values: NDArray[np.floating]) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded
