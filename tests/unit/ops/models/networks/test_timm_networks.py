"""timm's networks end before their head, and bring their preprocessing."""

import pytest
import timm
import torch

from ops.errors import ConfigurationError
from ops.models.backbones import Backbone, check_backbone, known_backbones, published
from ops.models.networks.timm_networks import load_published
from ops.models.preprocessing import Preprocessing


@pytest.mark.parametrize(
    ("name", "size", "dimension"),
    [
        ("timm:convnextv2_atto", 64, 320),
        ("timm:mobilenetv3_small_050", 64, 1024),
        ("timm:vit_tiny_patch16_224", 224, 192),
        ("timm:resnet10t.c3_in1k", 64, 512),
    ],
)
def test_networks_end_before_their_head(name: str, size: int, dimension: int):
    """Pooled features of the length that timm's own network feeds into its classifier."""
    backbone = Backbone(name).eval()
    with torch.inference_mode():
        assert backbone(torch.zeros(1, 3, size, size)).shape == (1, dimension)
    assert backbone.dimension == dimension


def test_transformers_take_one_size():
    assert Backbone("timm:vit_tiny_patch16_224").fixed_size
    assert not Backbone("timm:convnextv2_atto").fixed_size


def test_preprocessing_is_the_models_own():
    """A tag names other weights, which were evaluated otherwise."""
    assert published("timm:convnextv2_atto").preprocessing == Preprocessing(
        size=224, resize="center", crop_pct=0.875, interpolation="bicubic"
    )
    siglip = published("timm:vit_base_patch16_siglip_224.webli")
    half = (0.5, 0.5, 0.5)
    assert siglip.preprocessing == Preprocessing(
        size=224, resize="center", mean=half, std=half, crop_pct=0.9, interpolation="bicubic"
    )
    assert siglip.source == "timm vit_base_patch16_siglip_224.webli"
    assert siglip.hub is not None
    larger = published("timm:convnext_tiny.fb_in22k_ft_in1k_384")
    assert larger.preprocessing == Preprocessing(size=384, interpolation="bicubic")


def test_published_weights_are_converted_by_timm():
    """A checkpoint as timm publishes it, head included, gives the same features; another network's
    is refused."""
    torch.manual_seed(0)
    whole = timm.create_model("resnet10t").eval()
    state = load_published("resnet10t", whole.state_dict())
    backbone = Backbone("timm:resnet10t").eval()
    backbone.load({name: tensor.numpy() for name, tensor in state.items()})
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        features = whole.forward_head(whole.forward_features(image), pre_logits=True)
        assert torch.allclose(backbone(image), features, atol=1e-6)
    with pytest.raises(ConfigurationError, match="not timm:resnet14t's"):
        load_published("resnet14t", whole.state_dict())


@pytest.mark.parametrize("name", ["timm:resnet19", "timm:resnet18.none", "timm:", "resnet18.x"])
def test_an_unknown_name_is_an_error_with_similar_ones(name: str):
    with pytest.raises(ConfigurationError, match="Unknown backbone"):
        check_backbone(name)


def test_similar_names_are_named():
    with pytest.raises(ConfigurationError, match="timm:convnextv2_atto"):
        check_backbone("timm:convnextv2_ato")
    assert {"resnet50", "timm:resnet50"} <= set(known_backbones())


def test_inputs_that_are_not_square_are_refused():
    with pytest.raises(ConfigurationError, match="expected square RGB"):
        published("timm:vit_base_patch16_sapiens2.fb")
