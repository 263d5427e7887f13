"""Backbones that embed the goods alone: other pixels, another key, the same photo without goods."""

import numpy as np
import pytest
import simplejpeg

from lalafo_assets.synthetic.masked import draw_masked
from ops.errors import ConfigurationError
from ops.models.embed import prepare
from ops.models.preprocessing import Preprocessing
from ops.models.release import backbone_digest
from ops.models.segments import foreground
from ops.models.segments.foreground import GROUND, foreground_sha256, goods_alone
from ops.models.segments.network import LoadedNetwork
from tests.support.mask_networks import bright_network

WHOLE = Preprocessing()
GOODS = Preprocessing(foreground=foreground_sha256())


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return draw_masked(11, (480, 360)).pixels


def test_the_background_is_grey_and_the_goods_fill_the_photo(photo: np.ndarray):
    alone = goods_alone(photo, foreground_sha256())
    assert alone.shape[0] <= photo.shape[0] and alone.shape[1] <= photo.shape[1]
    grey = (alone == GROUND).all(axis=2)
    assert 0.02 < grey.mean() < 0.9
    assert grey[0, 0] and grey[-1, -1]


def test_a_photo_without_goods_is_embedded_as_it_is(monkeypatch: pytest.MonkeyPatch):
    network = LoadedNetwork(bright_network())
    monkeypatch.setattr(foreground, "_network", lambda sha256: network)
    dark = np.full((200, 300, 3), 9, np.uint8)
    assert goods_alone(dark, foreground_sha256()) is dark


def test_it_is_another_backbone(photo: np.ndarray):
    """Its record says so, and releases of before keep the record that they had."""
    assert "foreground" not in WHOLE.record()
    assert Preprocessing.from_record(GOODS.record()) == GOODS
    keys = {backbone_digest("timm:x", it, "0" * 64) for it in (WHOLE, GOODS)}
    assert len(keys) == 2
    assert WHOLE.pixels != GOODS.pixels
    data = simplejpeg.encode_jpeg(photo, quality=90)
    whole, goods = prepare(data, WHOLE), prepare(data, GOODS)
    assert whole.shape == goods.shape == (224, 224, 3)
    assert np.abs(whole.astype(int) - goods).mean() > 5


def test_another_network_is_refused(photo: np.ndarray):
    with pytest.raises(ConfigurationError, match="this version ships"):
        goods_alone(photo, "0" * 64)
    for odd in ("x", "A" * 64, 3):
        with pytest.raises(ConfigurationError, match="foreground"):
            Preprocessing(foreground=odd)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 640), (640, 1), (2, 2)])
def test_a_photo_of_any_shape_is_prepared(shape: tuple[int, int]):
    data = simplejpeg.encode_jpeg(np.full((*shape, 3), 200, np.uint8))
    assert prepare(data, GOODS).shape == (224, 224, 3)
