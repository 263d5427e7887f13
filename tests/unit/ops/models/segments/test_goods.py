"""From a photo to a mask as large as the photo, and to separate things."""

import numpy as np
import pytest

from ops.errors import ConfigurationError
from ops.models.release_files import decode_heads, encode_heads
from ops.models.segments.goods import find_goods
from ops.models.segments.head import CONSTANTS, MaskNetwork
from ops.models.segments.network import LoadedNetwork, loaded
from ops.models.task_head import TaskHead
from tests.support.mask_networks import bright_network, broken_network


@pytest.fixture(scope="module")
def network() -> LoadedNetwork:
    return LoadedNetwork(bright_network())


def photo_of(height: int = 480, width: int = 360) -> np.ndarray:
    """Two bright things on a dark ground."""
    photo = np.full((height, width, 3), 30, np.uint8)
    photo[height // 8 : height // 2, width // 8 : width // 2] = 230
    photo[3 * height // 4 : 7 * height // 8, 5 * width // 8 : 7 * width // 8] = 210
    return photo


def test_the_mask_is_as_large_as_the_photo_and_has_its_things(network):
    photo = photo_of()
    goods = find_goods(photo, network)
    truth = photo[..., 0] > 128
    assert goods.mask.shape == goods.probability.shape == (480, 360)
    assert (goods.mask & truth).sum() / (goods.mask | truth).sum() > 0.93
    assert len(goods.things) == 2
    first, second = goods.things
    assert first.thing.area > second.thing.area
    assert first.label == "goods"
    left, top, width, height = first.thing.box
    assert abs(left - 45) <= 4 and abs(top - 60) <= 5
    assert abs(width - 135) <= 8 and abs(height - 180) <= 10
    assert 0.9 < first.score <= 1
    assert 0.9 < goods.score <= 1


def test_a_photo_without_goods_has_an_empty_mask_and_a_low_score(network):
    goods = find_goods(np.zeros((300, 200, 3), np.uint8), network)
    assert not goods.mask.any()
    assert goods.things == []
    assert goods.score < 0.01


@pytest.mark.parametrize("shape", [(1, 640), (640, 1), (1, 1), (2, 3), (640, 640)])
def test_a_photo_of_any_shape_has_a_mask(network, shape):
    goods = find_goods(np.full((*shape, 3), 250, np.uint8), network)
    assert goods.mask.shape == shape
    assert goods.mask.all()
    assert goods.things[0].thing.area == shape[0] * shape[1]


def test_small_parts_are_left_out(network):
    photo = photo_of(400, 400)
    photo[390:398, 2:10] = 255  # 64 of 160,000 pixels
    assert len(find_goods(photo, network).things) == 2
    eager = LoadedNetwork(network.network.with_settings({"least_area": 0.0001}))
    assert len(find_goods(photo, eager).things) == 3


def test_a_network_that_answers_nan_raises_for_the_photo():
    network = LoadedNetwork(broken_network())
    with pytest.raises(ValueError, match="NaN"):
        find_goods(np.zeros((50, 50, 3), np.uint8), network)
    assert find_goods(np.full((50, 50, 3), 255, np.uint8), network).mask.all()


def test_a_head_is_loaded_once_and_again_with_other_settings():
    head = bright_network().as_head()
    again = decode_heads(encode_heads({"segments": head}), {}, {"segments": head.config})
    assert isinstance(again["segments"], TaskHead)
    assert loaded(head) is loaded(again["segments"])
    other = TaskHead("segments", head.tensors, {**head.config, "threshold": 0.7})
    assert loaded(other) is not loaded(head)
    assert loaded(other).network.threshold == 0.7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"threshold": 1.5}, "threshold"),
        ({"least_area": "much"}, "least_area"),
        ({"side": 8}, "side"),
        ({"labels": []}, "labels"),
        ({"labels": ["a", ""]}, "labels"),
    ],
)
def test_a_head_with_a_wrong_setting_is_refused(change, message):
    head = bright_network().as_head()
    with pytest.raises(ConfigurationError, match=message):
        loaded(TaskHead("segments", head.tensors, {**head.config, **change}))


def test_a_head_without_its_tensors_or_settings_is_refused():
    head = bright_network().as_head()
    with pytest.raises(ConfigurationError, match="missing"):
        MaskNetwork.of_head(TaskHead("segments", head.tensors, {}))
    with pytest.raises(ConfigurationError, match="tensors"):
        MaskNetwork.of_head(TaskHead("segments", {CONSTANTS: head.tensors[CONSTANTS]}, head.config))


def test_a_network_of_another_shape_than_its_settings_is_refused():
    network = bright_network()
    for change in ({"side": 96}, {"labels": ("shirt", "shoes")}):
        with pytest.raises(ConfigurationError, match="expected"):
            LoadedNetwork(network.with_settings(change))
    damaged = MaskNetwork("x", network.operations[:200], network.constants, network.side)
    with pytest.raises(ConfigurationError, match="can't read"):
        LoadedNetwork(damaged)
