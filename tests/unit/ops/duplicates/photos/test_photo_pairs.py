"""Where one photo lies in another is found, in either order, and photos without detail break
nothing."""

import hashlib

import numpy as np
import pytest

from lalafo_assets.bench.duplicates.alterations import altered
from lalafo_assets.bench.quality.degrade import jpeg
from ops.duplicates.photos.photo_pairs import FEATURES, photo_pair
from ops.duplicates.photos.photo_print import PhotoPrint, photo_print
from ops.duplicates.photos.regions import Quadrilateral, matched_regions
from ops.photos.pixels import Pixels
from tests.support.detailed_photos import detailed_photo

PHOTOS = [detailed_photo(seed) for seed in range(4)]


def made(photo: Pixels) -> PhotoPrint:
    return photo_print(hashlib.sha256(photo.tobytes()).digest(), photo)


def changed(name: str, index: int = 0) -> Pixels:
    return altered(name, PHOTOS[index], PHOTOS[1 - index], np.random.default_rng(index))


def near(found: Quadrilateral, expected: Quadrilateral, within: float = 0.07) -> bool:
    return bool(np.abs(np.array(found) - np.array(expected)).max() <= within)


WHOLE: Quadrilateral = ((0, 0), (1, 0), (1, 1), (0, 1))


@pytest.mark.parametrize("name", ["crop_10", "screenshot", "mirrored", "collage"])
def test_the_order_of_the_photos_does_not_matter(name: str):
    one, other = made(PHOTOS[0]), made(changed(name))
    forth, back = photo_pair(one, other), photo_pair(other, one)
    assert np.array_equal(forth.features, back.features)
    there, here = matched_regions(forth), matched_regions(back)
    assert there is not None and here is not None
    assert (there.first, there.second) == (here.second, here.first)


def test_features_are_finite_and_named():
    for name in ("jpeg_q30", "crop_25", "collage"):
        found = photo_pair(made(PHOTOS[0]), made(changed(name))).features
        assert found.shape == (len(FEATURES),)
        assert np.isfinite(found).all()


def test_a_crop_lies_where_it_was_cut():
    photo = PHOTOS[0]
    height, width = photo.shape[:2]
    top, left = round(height * 0.2), round(width * 0.1)
    crop = jpeg(photo[top : round(height * 0.9), left : round(width * 0.8)], 85)
    regions = matched_regions(photo_pair(made(photo), made(crop)))
    assert regions is not None
    assert near(regions.first, ((0.1, 0.2), (0.8, 0.2), (0.8, 0.9), (0.1, 0.9)))
    assert near(regions.second, WHOLE)


def test_the_region_of_a_mirrored_crop_is_on_the_other_side():
    """Corner by corner both regions show the same place."""
    photo = PHOTOS[0]
    width = photo.shape[1]
    crop = np.ascontiguousarray(photo[:, : round(width * 0.7)][:, ::-1])
    pair = photo_pair(made(photo), made(crop))
    regions = matched_regions(pair)
    assert pair.mirrored
    assert regions is not None
    corners = {tuple(np.round(it, 1)) for it in regions.first}
    assert corners == {(0.0, 0.0), (0.7, 0.0), (0.7, 1.0), (0.0, 1.0)}
    for (x, y), (other_x, other_y) in zip(regions.first, regions.second, strict=True):
        assert abs(x / 0.7 - (1 - other_x)) < 0.08
        assert abs(y - other_y) < 0.08


def test_a_collage_shows_both_photos():
    parts = [detailed_photo(seed, width=320, height=320) for seed in (1, 2)]
    both = jpeg(np.concatenate(parts, axis=1), 90)
    for index, (left, right) in enumerate(((0.0, 0.5), (0.5, 1.0))):
        regions = matched_regions(photo_pair(made(parts[index]), made(both)))
        assert regions is not None
        assert near(regions.second, ((left, 0), (right, 0), (right, 1), (left, 1)))


def test_different_photos_agree_nowhere_much():
    prints = [made(it) for it in PHOTOS]
    for index, one in enumerate(prints):
        for other in prints[:index]:
            agree = photo_pair(one, other).agreement
            assert agree.agreeing * agree.share < 20


@pytest.mark.parametrize("shape", [(1, 1), (3, 640), (640, 3), (8, 8), (200, 200)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_photo_of_one_colour_breaks_nothing(shape: tuple[int, int], value: int):
    flat = made(np.full((*shape, 3), value, np.uint8))
    for other in (made(PHOTOS[0]), flat, made(np.full((90, 120, 3), 60, np.uint8))):
        pair = photo_pair(flat, other)
        assert np.isfinite(pair.features).all()
        assert pair.agreement.agreeing == 0
        assert matched_regions(pair) is None


def test_equal_photos_give_equal_features():
    first, second = (photo_pair(made(PHOTOS[1]), made(changed("rotated", 1))) for _ in range(2))
    assert np.array_equal(first.features, second.features)
