"""Preprocessing is part of a release: old records keep their bytes, and new ones say all."""

import json

import pytest

from ops.errors import ConfigurationError
from ops.models.preprocessing import Preprocessing

OLD = {
    "mean": [0.485, 0.456, 0.406],
    "resize": "squash",
    "size": 224,
    "std": [0.229, 0.224, 0.225],
}


def stored(preprocessing: Preprocessing) -> object:
    return json.loads(json.dumps(preprocessing.record()))


def test_releases_of_before_keep_their_record():
    """Four keys in, the same four keys out: the digest of their manifest stays."""
    old = Preprocessing.from_record(OLD)
    assert old == Preprocessing()
    assert stored(old) == OLD


@pytest.mark.parametrize(
    "changes",
    [{"resize": "center", "crop_pct": 0.875}, {"interpolation": "bicubic"}, {"crop_pct": 0.9}],
)
def test_what_differs_is_recorded(changes: dict[str, object]):
    """A crop or another interpolation adds both keys, and they are read again."""
    preprocessing = Preprocessing(**changes)
    record = stored(preprocessing)
    assert set(record) == {*OLD, "crop_pct", "interpolation"}
    assert Preprocessing.from_record(record) == preprocessing


@pytest.mark.parametrize(
    "record",
    [
        {**OLD, "crop_pct": 1.0},
        {**OLD, "crop_pct": 0.0, "interpolation": "bilinear"},
        {**OLD, "crop_pct": 1, "interpolation": "bilinear"},
        {**OLD, "crop_pct": 0.9, "interpolation": "lanczos"},
        {**OLD, "resize": "border"},
        {**OLD, "extra": 1},
        {**OLD, "size": True},
        [],
        None,
    ],
)
def test_an_invalid_record_is_refused(record: object):
    with pytest.raises(ConfigurationError, match=r"manifest\.preprocessing"):
        Preprocessing.from_record(record)


@pytest.mark.parametrize(
    ("size", "crop_pct", "scaled"),
    [(224, 0.875, 256), (224, 224 / 232, 232), (224, 0.9, 248), (384, 1.0, 384), (260, 0.89, 292)],
)
def test_the_side_before_the_crop(size: int, crop_pct: float, scaled: int):
    """timm's floor, also where the share is a ratio of whole numbers."""
    assert Preprocessing(size=size, crop_pct=crop_pct).scaled == scaled


def test_the_shape_before_the_crop():
    """ "center" keeps the proportions, with the longer side rounded down; "squash" does not."""
    center = Preprocessing(resize="center", crop_pct=0.875)
    assert center.resized(480, 640) == (256, 341)
    assert center.resized(640, 480) == (341, 256)
    assert Preprocessing(crop_pct=0.875).resized(480, 640) == (256, 256)
