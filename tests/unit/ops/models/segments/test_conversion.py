"""Networks of others: ONNX files with one input and one output, and torchvision's models."""

import numpy as np
import pytest
import torch
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from ops.errors import ConfigurationError
from ops.models.segments.conversion import Answers, from_onnx, from_torchvision
from ops.models.segments.goods import find_goods
from ops.models.segments.network import LoadedNetwork
from tests.support.mask_networks import onnx_file

HALF = (0.5, 0.5, 0.5)


def bright_half() -> np.ndarray:
    photo = np.full((64, 64, 3), 20, np.uint8)
    photo[:, 32:] = 220
    return photo


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"rank": 3},
        {"last": "Identity"},
        {"outputs": ("coarse", "mask", "edge")},
    ],
    ids=["probabilities", "without the channel", "logits", "several outputs"],
)
def test_an_onnx_network_answers_probabilities(data):
    network = from_onnx(
        onnx_file(**data),
        name="brightness.onnx",
        mean=HALF,
        std=HALF,
        answers=Answers.LOGIT if "last" in data else Answers.PROBABILITY,
        output="mask" if "outputs" in data else None,
    )
    found = LoadedNetwork(network).probabilities(bright_half())
    assert found.shape == (1, 64, 64)
    assert (found[0, :, 34:] > 0.99).all()
    assert (found[0, :, :30] < 0.01).all()


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"no network", {}, "can read"),
        (onnx_file(side="side"), {}, "fixed size"),
        (onnx_file(channels=1), {}, "fixed size"),
        (onnx_file(outputs=("a", "b")), {}, "outputs a, b"),
        (onnx_file(), {"output": "other"}, "outputs mask"),
        (onnx_file(last="Identity"), {}, "probabilities"),
        (onnx_file(side=32), {}, "side"),
    ],
)
def test_an_onnx_network_of_another_kind_is_refused(data, options, message):
    with pytest.raises(ConfigurationError, match=message):
        from_onnx(data, name="other.onnx", mean=HALF, std=(0.1, 0.1, 0.1), **options)


def test_torchvisions_models_answer_classes_and_name_the_things():
    torch.manual_seed(3)
    labels = ("shirt", "shoes")
    model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).eval()
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    network = from_torchvision(
        "torchvision:lraspp_mobilenet_v3_large", state, labels=labels, side=128
    )
    loaded = LoadedNetwork(network.with_settings({"threshold": 0.0}))
    photo = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    found = loaded.probabilities(photo)
    with torch.inference_mode():
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = (torch.from_numpy(photo).float() / 255 - mean) / std
        expected = torch.softmax(model(pixels.permute(2, 0, 1)[None])["out"], 1)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=5e-3)  # float16 constants
    (thing,) = find_goods(photo, loaded).things
    assert thing.label == labels[int(expected[1:].mean((1, 2)).argmax())]


def test_weights_of_another_network_are_refused():
    with pytest.raises(ConfigurationError, match="not those of"):
        from_torchvision("torchvision:lraspp_mobilenet_v3_large", {}, labels=("a",), side=128)
    with pytest.raises(ConfigurationError, match="Known: torchvision:"):
        from_torchvision("torchvision:resnet50", {}, labels=("a",))


def test_a_network_that_is_converted_twice_is_the_same():
    """Byte for byte: a release that is made again has the same digest."""
    one, two = (from_onnx(onnx_file(), name="brightness", mean=HALF, std=HALF) for _ in range(2))
    assert one.sha256 == two.sha256
