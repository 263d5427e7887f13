"""Networks of masks from files, and releases that have them."""

from pathlib import Path

import pytest
import torch
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from lalafo_assets.starter import load_starter
from ops.errors import ConfigurationError
from ops.models.release_files import decode_heads, encode_heads
from ops.models.segments.conversion import Answers
from ops.models.segments.head import MaskNetwork
from ops.models.task_head import TaskHead
from resources.training.extend import extended
from resources.training.masks.networks import NetworkOptions, mask_network, voc_labels
from tests.support.mask_networks import bright_network, onnx_file


def test_an_onnx_file_is_a_network(tmp_path: Path) -> None:
    path = tmp_path / "saliency.onnx"
    path.write_bytes(onnx_file(last="Identity"))
    found = mask_network(str(path), NetworkOptions(answers=Answers.LOGIT))
    assert (found.name, found.side, found.labels) == ("saliency.onnx", 64, ("goods",))


def test_torchvisions_network_needs_its_weights(tmp_path: Path) -> None:
    name = "torchvision:lraspp_mobilenet_v3_large"
    with pytest.raises(ConfigurationError, match="--weights FILE"):
        mask_network(name, NetworkOptions())
    path = tmp_path / "weights.pth"
    model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    torch.save(model.state_dict(), path)
    found = mask_network(name, NetworkOptions(weights=path))
    assert found.labels == voc_labels()
    assert len(found.labels) == 20 and "person" in found.labels


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("network.pt", "neither a file that ends with .onnx"),
        ("missing.onnx", "can't be read"),
        ("u2netp", "neither a file"),
    ],
)
def test_another_choice_is_refused(choice: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        mask_network(choice, NetworkOptions())


def test_a_release_has_the_network_and_its_digest_names_it() -> None:
    """The shipped one is replaced for this release; both are files of it."""
    starter = load_starter()
    plain = extended(starter)
    own = extended(starter, heads={"segments": bright_network().as_head()})
    assert plain.manifest.digest != own.manifest.digest
    assert own.manifest.heads["segments"]["network"] == "brightness"
    again = decode_heads(encode_heads(own.heads), own.manifest.taxonomy, own.manifest.heads)
    head = again["segments"]
    assert isinstance(head, TaskHead)
    assert MaskNetwork.of_head(head).sha256 == bright_network().sha256
    changed = extended(
        starter, {"segments": {"threshold": 0.3}}, {"segments": bright_network().as_head()}
    )
    assert changed.manifest.heads["segments"]["threshold"] == 0.3
