"""The task `segments`: a mask for each photo, and the photo to cut the goods out of."""

import numpy as np
import pytest

from lalafo_assets.synthetic.masked import draw_masked
from ops.masks.arrays import decode_mask, encode_mask, intersection_over_union
from ops.models.segments.shipped import shipped_head
from ops.scoring.photo_answers import PhotoInput, answer_photos, combined
from ops.tasks.contract.answer import answer_of, as_prediction
from ops.tasks.contract.inputs import RENDITION_VIEW, Photo, PhotoPlace
from ops.tasks.segments import (
    MAX_COUNTS_CHARS,
    TASK,
    PhotoSegments,
    Segments,
    combine,
    mask_of,
    predict_photos,
)
from ops.types import Failure, Prediction
from tests.support.mask_networks import bright_network, broken_network

HEAD = bright_network().as_head()


def photo_with(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (320, 240)) -> Photo:
    """Bright boxes (left, top, width, height) on a dark ground."""
    pixels = np.full((*shape, 3), 25, np.uint8)
    for left, top, width, height in boxes:
        pixels[top : top + height, left : left + width] = 235
    return Photo(rendition=pixels)


def answer(photo: Photo) -> PhotoSegments:
    (found,) = predict_photos([photo], HEAD)
    return found


def test_a_photo_s_answer_has_its_mask_and_its_things():
    found = answer(photo_with((40, 60, 120, 160), (190, 250, 40, 60)))
    assert found.label == "goods"
    assert found.size == [320, 240]
    assert [len(found.things), found.things[0].label] == [2, "goods"]
    mask = decode_mask(mask_of(found))
    assert mask.shape == (320, 240)
    assert found.area == pytest.approx(mask.mean(), abs=1e-4)
    assert sum(thing.area for thing in found.things) == mask.sum()


def test_an_answer_that_was_stored_is_the_same():
    found = answer(photo_with((40, 60, 120, 160)))
    assert answer_of(PhotoSegments, as_prediction("segments", found)) == found


def test_no_goods_are_an_empty_mask_and_a_low_score():
    found = answer(photo_with())
    assert (found.label, found.area, found.things) == ("nothing", 0, [])
    assert found.score < 0.05
    assert mask_of(found).area == 0


@pytest.mark.parametrize("shape", [(1, 640), (640, 1)])
def test_a_photo_of_one_row_or_column_is_answered(shape: tuple[int, int]):
    found = answer(photo_with((0, 0, shape[1], shape[0]), shape=shape))
    assert found.size == list(shape)
    assert found.area == 1


def test_many_parts_are_cut_off_and_the_mask_has_them_all():
    network = bright_network(side=256).with_settings({"least_area": 0.0001})
    boxes = [(x, y, 20, 20) for x in range(10, 620, 60) for y in range(10, 620, 60)]
    (found,) = predict_photos([photo_with(*boxes, shape=(640, 640))], network.as_head())
    assert len(found.things) == 20
    assert mask_of(found).area > 90 * 20 * 20


def test_a_noisy_mask_is_made_smaller_until_it_can_be_stored():
    noise = np.random.default_rng(0).integers(0, 2, (640, 640, 1), np.uint8) * 255
    fine = bright_network(side=640).with_settings({"least_area": 0.0})
    (found,) = predict_photos([Photo(rendition=np.repeat(noise, 3, axis=2))], fine.as_head())
    assert len(found.counts) <= MAX_COUNTS_CHARS
    assert found.size[0] < 640
    as_prediction("segments", found)  # within the limits of a row


def test_an_ad_of_fifty_photos_is_answered():
    photos = [photo_with((10 + i, 20, 100, 90)) for i in range(49)] + [photo_with()]
    answers = predict_photos(photos, HEAD)
    found = combine(answers, [PhotoPlace(f"{i:064x}", i) for i in range(50)])
    assert isinstance(found, Segments)
    assert len(as_prediction("segments", found).details["photos"]) == 50


def test_the_photo_with_the_most_certain_mask_is_the_best():
    sure, unsure, empty = (
        answer(photo_with((40, 60, 120, 160))),
        answer(photo_with((40, 60, 50, 50))),
        answer(photo_with()),
    )
    sure = sure.model_copy(update={"score": 0.97})
    unsure = unsure.model_copy(update={"score": 0.6})
    empty = empty.model_copy(update={"score": 0.99})
    places = [PhotoPlace(name * 64, i) for i, name in enumerate("abc")]
    found = combine([empty, unsure, sure], places)
    assert found is not None
    assert (found.cover.sha256, found.label, found.score) == ("c" * 64, "goods", 0.97)
    assert [photo.things for photo in found.photos] == [0, 1, 1]
    assert combine([None, unsure, None], places).cover.position == 1
    assert combine([None, None, None], places) is None


def test_a_network_that_answers_nan_fails_for_that_photo_alone():
    """The failure says why, and the ad has the other photos' masks."""
    dark = np.zeros((60, 60, 3), np.uint8)
    photos = [
        PhotoInput(bytes([i]) * 32, images={RENDITION_VIEW: image})
        for i, image in enumerate((dark, dark + 255))
    ]
    errors: list[BaseException] = []
    answer_photos(TASK, broken_network().as_head(), photos, lambda _, error: errors.append(error))
    failed, found = (photo.result("segments") for photo in photos)
    assert isinstance(failed, Failure)
    assert failed.detail.startswith("ops.models.segments.network.NotFiniteError")
    assert isinstance(found, Prediction)
    ad = combined(TASK, photos, [0, 1], lambda _, error: errors.append(error))
    assert isinstance(ad, Prediction)
    assert ad.details["cover"]["position"] == 1
    assert len(errors) == 1


def test_the_shipped_network_finds_drawn_goods():
    """Photos that it was not trained on; the bench measures more of them."""
    ious = []
    for seed in range(12):
        drawn = draw_masked(9_000_000_000 + seed, (480, 360))
        (found,) = predict_photos([Photo(rendition=drawn.pixels)], shipped_head())
        ious.append(intersection_over_union(decode_mask(mask_of(found)), drawn.mask >= 0.5))
    assert np.mean(ious) > 0.85


def test_the_mask_is_the_same_in_any_order_and_number_of_photos():
    photos = [Photo(rendition=draw_masked(i, (200, 150)).pixels) for i in range(4)]
    together = predict_photos(photos, shipped_head())
    alone = [predict_photos([photo], shipped_head())[0] for photo in reversed(photos)]
    assert together == alone[::-1]


def test_the_encoding_is_that_of_the_mask():
    found = answer(photo_with((40, 60, 120, 160)))
    assert encode_mask(decode_mask(mask_of(found))) == mask_of(found)
