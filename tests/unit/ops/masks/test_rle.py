"""Masks as COCO's run-length encoding: the same texts, areas and boxes as pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from ops.masks.arrays import decode_mask, encode_mask, separate_things
from ops.masks.rle import EncodedMask, encode_counts, parse_counts

MASKS = arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def as_coco(mask: np.ndarray) -> dict:
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))


@given(MASKS)
def test_texts_areas_and_boxes_are_those_of_pycocotools(mask: np.ndarray):
    expected = as_coco(mask)
    found = encode_mask(mask)
    assert found.as_coco() == {**expected, "counts": expected["counts"].decode()}
    assert found.area == coco.area(expected)
    assert found.box == (tuple(coco.toBbox(expected).astype(int).tolist()) if mask.any() else None)


@given(MASKS)
def test_a_mask_is_read_back(mask: np.ndarray):
    found = encode_mask(mask)
    np.testing.assert_array_equal(decode_mask(found), mask)
    by_column = np.frombuffer(found.as_bytes(), np.uint8).reshape(mask.shape[::-1])
    np.testing.assert_array_equal(by_column.T == 255, mask)


def test_a_large_noisy_mask_is_that_of_pycocotools():
    mask = np.random.default_rng(1).random((640, 480)) < 0.5
    assert encode_mask(mask).counts == as_coco(mask)["counts"].decode()


@given(st.lists(st.integers(0, 500_000), max_size=12))
def test_counts_are_read_back(runs: list[int]):
    assert parse_counts(encode_counts(runs)) == runs


@pytest.mark.parametrize(
    "counts", ["", "04", "\x00", "é", "oooooooooooooooooooo", "5", "P", "1O", "1" * 200]
)
def test_counts_that_do_not_cover_the_photo_are_refused(counts: str):
    with pytest.raises(ValueError, match=r"run|counts"):
        EncodedMask(4, 4, counts)


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, -1), (641, 640)])
def test_a_size_that_no_photo_has_is_refused(size: tuple[int, int]):
    with pytest.raises(ValueError, match="a mask of"):
        EncodedMask(*size, encode_counts([size[0] * size[1]]))


@pytest.mark.parametrize("shape", [(1, 640), (640, 1), (1, 1)])
def test_a_photo_of_one_row_has_a_mask(shape: tuple[int, int]):
    mask = np.zeros(shape, bool)
    mask.flat[-1] = True
    found = encode_mask(mask)
    assert found.area == 1
    assert found.box == (shape[1] - 1, shape[0] - 1, 1, 1)


def test_separate_things_are_parts_that_touch():
    mask = np.zeros((20, 30), bool)
    mask[2:6, 3:9] = True
    mask[6, 9] = True  # touches at a corner
    mask[10:19, 20:28] = True
    mask[0, 29] = True
    things, kept = separate_things(mask, least_area=2)
    assert [(thing.box, thing.area) for thing in things] == [
        ((20, 10, 8, 9), 72),
        ((3, 2, 7, 5), 25),
    ]
    assert things[1].inside.sum() == 25
    assert kept.sum() == 97
    assert not kept[0, 29]
    assert separate_things(np.zeros((3, 3), bool), 1)[0] == []
