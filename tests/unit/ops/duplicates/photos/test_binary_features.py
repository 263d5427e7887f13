"""Binary features agree on where a photo lies in its altered copy, and not in another photo."""

import numpy as np
import pytest

from lalafo_assets.bench.duplicates.alterations import altered
from lalafo_assets.bench.quality.series import drawn_photos
from ops.duplicates.photos import binary_features
from ops.duplicates.photos.binary_features import ENOUGH, MOST, SIDE, agreeing, pack, unpack
from ops.duplicates.photos.photo_print import PhotoPrint, photo_print
from ops.photos.pixels import Pixels
from tests.support.detailed_photos import detailed_photo

PHOTOS = [detailed_photo(seed, width=480, height=360) for seed in (1, 2)]
ALTERATIONS = ("crop_25", "border", "padding", "screenshot", "collage", "mirrored_crop", "rotated")


def print_of(pixels: Pixels) -> PhotoPrint:
    return photo_print(pixels.tobytes()[:32], pixels)


def best(one: Pixels, other: Pixels) -> int:
    there = print_of(other).both_details[0]
    return max(agreeing(here, there) for here in print_of(one).both_details)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_those_of_an_altered_copy_agree(name: str):
    copy = altered(name, PHOTOS[0], drawn_photos(seed=5, count=1)[0], np.random.default_rng(2))
    assert best(PHOTOS[0], copy) >= ENOUGH
    assert best(copy, PHOTOS[0]) >= ENOUGH


def test_those_of_other_photos_do_not():
    photos = [*PHOTOS, *drawn_photos(seed=5, count=4)]
    pairs = [(one, other) for at, one in enumerate(photos) for other in photos[:at]]
    assert sum(best(*pair) >= ENOUGH for pair in pairs) <= 1


def test_a_photo_turned_upside_down_is_found():
    """Whatever the rotation is, all matches have the same one."""
    turned = np.ascontiguousarray(PHOTOS[0][::-1, ::-1])
    assert best(PHOTOS[0], turned) >= ENOUGH


def test_packed_features_are_those_of_the_detector(monkeypatch: pytest.MonkeyPatch):
    """Places to a 64th of a pixel, directions to 1.4 degrees."""
    grey = print_of(PHOTOS[0]).grey
    found, bits = [], []
    detector = binary_features._detector()

    class Recording:
        detect = detector.detect

        def compute(self, picture: object, chosen: object) -> object:
            keypoints, descriptors = detector.compute(picture, chosen)
            found.extend(keypoints)
            bits.append(descriptors)
            return keypoints, descriptors

    monkeypatch.setattr(binary_features, "_detector", Recording)
    packed = pack(grey)
    assert len(packed) == 38 * len(found) <= 38 * MOST
    features = unpack(packed)
    assert np.array_equal(features.bits, bits[0])
    places = np.array([complex(*it.pt) for it in found])
    assert np.abs(features.places - places).max() < 1 / 64
    assert max(places.real.max(), places.imag.max()) < SIDE
    turns = np.exp(1j * np.radians([it.angle for it in found]))
    assert np.abs(features.turns / np.abs(features.turns) - turns).max() < np.radians(1.5)


def test_features_are_spread_over_the_photo():
    """A half of strong contrast leaves some for the other."""
    grey = print_of(PHOTOS[0]).grey.astype(float)
    half = grey.shape[1] // 2
    grey[:, half:] = 128 + (grey[:, half:] - 128) * 0.7
    features = unpack(pack(np.rint(grey).astype(np.uint8)))
    assert len(features.places) <= MOST
    assert (features.places.real > SIDE / 2).sum() >= MOST / 4


def test_a_photo_of_one_colour_has_none():
    packed = pack(np.full((120, 160), 77, np.uint8))
    assert packed == b""
    assert agreeing(unpack(packed), unpack(packed)) == 0
