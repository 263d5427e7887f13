"""Draws text cards and screens of phones over a known share of a photo."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ops.photos.pixels import Pixels

SCREEN = (360, 640)  # pixels
BARS = (44, 48)  # pixels above and below
WORDS = (
    *("the", "price", "is", "for", "one", "call", "after", "six", "in", "evening", "size", "new"),
    *("used", "delivery", "city", "centre", "warranty", "colour", "red", "black", "white", "phone"),
    *("message", "discount", "sale", "original", "box"),
)

_Colour = tuple[int, int, int]


def text_card(photo: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Cover this share of the height, above or below, with lines of text."""
    height, width = photo.shape[:2]
    rows = round(height * share)
    if rows == 0:
        return photo
    text, ground = _colours(rng)
    card = np.asarray(_text((width, rows), rng, int(rng.integers(14, 34)), text, ground))
    out = photo.copy()
    if rng.integers(2):
        out[:rows] = card
    else:
        out[height - rows :] = card
    return out


def screenshot(photo: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """A phone's screen, of which this share is text and bars, and the rest the photo."""
    if share <= 0:
        return photo
    width, height = SCREEN
    text, ground = _colours(rng)
    screen = _text(SCREEN, rng, int(rng.integers(12, 20)), text, ground)
    draw = ImageDraw.Draw(screen)
    bar = _random(rng, 0, 256)
    draw.rectangle((0, 0, width, BARS[0]), fill=bar)
    draw.text((10, 4), "12:45", fill=text, font=ImageFont.load_default(12))
    draw.text((40, 18), "Listing", fill=text, font=ImageFont.load_default(18))
    draw.rectangle((0, height - BARS[1], width, height), fill=bar)
    for index in range(4):
        left = 30 + index * 85
        draw.ellipse((left, height - 38, left + 28, height - 10), outline=text, width=2)
    rows = round(height * (1 - share))
    if rows > 0:
        image = Image.fromarray(photo)
        scale = max(width / image.width, rows / image.height)
        image = image.resize((math.ceil(image.width * scale), math.ceil(image.height * scale)))
        above = max(0, min(BARS[0], height - rows))
        screen.paste(image.crop((0, 0, width, rows)), (0, above))
    return np.asarray(screen)


def _text(
    size: tuple[int, int], rng: np.random.Generator, font_px: int, text: _Colour, ground: _Colour
) -> Image.Image:
    image = Image.new("RGB", size, ground)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(font_px)
    top = font_px // 2
    while top < size[1]:
        line, width = "", size[0] * rng.uniform(0.3, 0.95)
        while draw.textlength(line, font=font) < width:
            line += f"{rng.choice(WORDS)} "
        if rng.random() < 0.85:  # else an empty line
            draw.text((font_px // 2, top), line, fill=text, font=font)
        top += round(font_px * rng.uniform(1.25, 1.8))
    return image


def _colours(rng: np.random.Generator) -> tuple[_Colour, _Colour]:
    """The colours of text and ground: dark on white, light on black, or two others."""
    return (
        ((20, 20, 20), (255, 255, 255)),
        ((235, 235, 235), (18, 18, 22)),
        ((255, 255, 255), _random(rng, 0, 140)),
        (_random(rng, 0, 110), _random(rng, 190, 256)),
    )[int(rng.integers(4))]


def _random(rng: np.random.Generator, low: int, high: int) -> _Colour:
    red, green, blue = (int(it) for it in rng.integers(low, high, 3))
    return red, green, blue
