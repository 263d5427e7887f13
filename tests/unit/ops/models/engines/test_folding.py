"""Folding leaves a network's features, and no norm to compute."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ops.models.backbones import Backbone
from ops.models.engines.folding import folded


def a_backbone(name: str, size: int) -> Backbone:
    """Random weights with norms that are computed from images, so that they do something."""
    torch.manual_seed(0)
    backbone = Backbone(name).train()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    with torch.no_grad():
        backbone(torch.randn(8, 3, size, size))
    return backbone.eval()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("timm:tf_efficientnet_lite0", 64),
        ("timm:tf_efficientnet_lite0", 75),
        ("timm:mobilenetv3_small_050", 64),
        ("timm:resnet10t", 64),
        ("mobilenet_v3_small", 64),
    ],
)
def test_norms_are_folded_and_paddings_are_constant(name: str, size: int):
    """Also for an odd size, where TensorFlow pads otherwise."""
    backbone = a_backbone(name, size)
    images = torch.randn(4, 3, size, size)
    with torch.inference_mode():
        expected = backbone(images)
        network = folded(backbone, size)
        assert F.cosine_similarity(network(images), expected).min() > 0.99999
    modules = list(network.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
    assert not any(type(module).__name__ == "Conv2dSame" for module in modules)


class Twice(nn.Module):
    """A convolution whose output has two readers: a norm, and a subtraction."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        nn.init.uniform_(self.norm.running_mean, 0.5, 1.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        plain = self.convolution(images)
        return (self.norm(plain) - plain).mean(dim=(2, 3))


def test_a_network_that_folding_would_change_stays_as_it_was():
    backbone = a_backbone("timm:resnet10t", 64)
    torch.manual_seed(1)
    backbone.network = Twice().eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        expected = backbone(images)
        assert torch.equal(folded(backbone, 32)(images), expected)
