"""The photo generator is reproducible, balanced and varied; and the demo's corrupt photos."""

import hashlib
import io
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image

from lalafo_assets.demo.bad_photos import corrupt_photos
from lalafo_assets.synthetic.photos import (
    CATEGORIES,
    LARGEST,
    SMALLEST,
    GeneratedPhoto,
    generate,
    pixels,
    plan,
    render,
)


@pytest.fixture(scope="module")
def photos() -> list[GeneratedPhoto]:
    return list(generate(len(CATEGORIES) * 6, seed=7))


def open_image(photo: GeneratedPhoto) -> Image.Image:
    return Image.open(io.BytesIO(photo.data))


def test_there_are_enough_categories_in_a_stable_order():
    assert len(CATEGORIES) >= 14
    assert list(CATEGORIES) == sorted(set(CATEGORIES))


def test_same_seed_gives_same_bytes_also_in_another_process():
    here = hashlib.sha256(b"".join(render(c, 11).data for c in CATEGORIES)).hexdigest()
    script = (
        "import hashlib; from lalafo_assets.synthetic.photos import CATEGORIES, render;"
        "print(hashlib.sha256(b''.join(render(c, 11).data for c in CATEGORIES)).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert there.stdout.strip() == here
    assert render("car", 11) == render("car", 11)
    assert render("car", 11).data != render("car", 12).data


def test_a_process_pool_makes_the_same_photos(photos: list[GeneratedPhoto]):
    planned = plan(8, 7)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        rendered = list(pool.map(render, *zip(*planned, strict=True)))
    assert rendered == photos[:8]


def test_categories_are_balanced_and_shuffled(photos: list[GeneratedPhoto]):
    assert set(Counter(p.category for p in photos).values()) == {6}
    assert {p.category for p in photos[: len(CATEGORIES)]} == set(CATEGORIES)
    assert [p.category for p in photos[: len(CATEGORIES)]] != list(CATEGORIES)
    assert plan(40, 3) == plan(400, 3)[:40]
    assert plan(40, 3) != plan(40, 4)
    assert list(generate(0, 3)) == []


def test_photos_have_the_stated_format_and_are_distinct(photos: list[GeneratedPhoto]):
    assert len({hashlib.sha256(p.data).digest() for p in photos}) == len(photos)
    for photo in photos:
        image = open_image(photo)
        assert image.size == (photo.width, photo.height)
        assert SMALLEST <= max(image.size) <= LARGEST
        assert Image.MIME[image.format or ""] == photo.content_type
        image.load()
        assert np.asarray(image.convert("L")).std() > 4


def test_photos_vary_as_sellers_photos_do(photos: list[GeneratedPhoto]):
    kinds = Counter(p.content_type for p in photos)
    assert kinds["image/jpeg"] > 0.8 * len(photos)
    assert set(kinds) == {"image/jpeg", "image/png", "image/webp"}
    assert {open_image(p).getexif().get(0x0112) for p in photos} >= {None, 3, 6, 8}
    longest = [max(p.width, p.height) for p in photos]
    assert min(longest) < 300 and max(longest) > 1200
    assert any(p.width > p.height for p in photos) and any(p.width < p.height for p in photos)


def test_every_category_draws_at_every_size():
    for category in CATEGORIES:
        picture, facts = pixels(category, 5, 96)
        assert picture.dtype == np.uint8 and max(picture.shape[:2]) == 96
        assert picture.shape[2] == 3 and facts.category == category


def test_an_unknown_category_is_refused():
    with pytest.raises(KeyError):
        render("dragon", 1)


def test_orientation_tag_turns_the_photo_upright():
    """The stored pixels are rotated, so that the tag restores the drawn orientation."""
    seed = next(s for s in range(400) if open_image(render("lamp", s)).getexif().get(0x0112) == 6)
    photo = render("lamp", seed)
    stored = open_image(photo)
    drawn, _ = pixels("lamp", seed, 96)
    stored_wide, drawn_wide = stored.width > stored.height, drawn.shape[1] > drawn.shape[0]
    assert stored.width == stored.height or stored_wide != drawn_wide


def test_corrupt_photos_are_unreadable_and_reproducible():
    corrupt = corrupt_photos()
    assert corrupt == corrupt_photos()
    assert corrupt["empty.jpg"] == b""
    assert corrupt["page.jpg"].startswith(b"<!DOCTYPE html>")
    readable = {"speck.png"}  # but of a size that is refused
    for name in set(corrupt) - readable:
        with pytest.raises((OSError, Image.DecompressionBombError)):
            Image.open(io.BytesIO(corrupt[name])).load()


@pytest.mark.parametrize("name", ["lying.jpg", "lying.png"])
def test_lying_headers_claim_what_no_memory_holds(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(io.BytesIO(corrupt_photos()[name])) as image:
        assert image.size == (64_250, 64_250)
    assert len(corrupt_photos()[name]) < 20_000
