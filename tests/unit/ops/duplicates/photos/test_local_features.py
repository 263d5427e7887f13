"""The features of a mirror image follow from those of the photo."""

import numpy as np
from PIL import Image

from lalafo_assets.bench.quality.series import drawn_photos
from ops.duplicates.photos.alignment import fitted
from ops.duplicates.photos.local_features import SIDE, local_features


def test_mirrored_features_are_those_of_the_mirror_image():
    for photo in drawn_photos(seed=17, count=3):
        image = Image.fromarray(photo).convert("L")
        image.thumbnail((SIDE, SIDE))
        grey = np.asarray(image)
        computed = local_features(grey).mirrored(grey.shape[1])
        detected = local_features(np.ascontiguousarray(grey[:, ::-1]))
        found = fitted(computed, detected)
        assert found is not None
        assert found.inliers >= 0.9 * found.matches
        # OpenCV places features a quarter of a pixel off, in the mirror image to the other side.
        assert np.abs(found.matrix - [[1, 0, 0], [0, 1, 0]]).max() < 0.7


def test_a_mirror_image_is_not_found_without():
    grey = np.asarray(Image.fromarray(drawn_photos(seed=17, count=1)[0]).convert("L"))
    grey = np.ascontiguousarray(grey[:SIDE, :SIDE])
    found = fitted(local_features(grey), local_features(np.ascontiguousarray(grey[:, ::-1])))
    assert found is None or found.inliers < 20


def test_a_photo_of_one_colour_has_none():
    found = local_features(np.full((120, 160), 77, np.uint8))
    assert found.places.shape == (0, 2)
    assert found.descriptors.shape == (0, 128)
    assert found.mirrored(160).places.shape == (0, 2)
    assert fitted(found, found) is None
