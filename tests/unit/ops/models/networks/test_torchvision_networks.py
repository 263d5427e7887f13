"""torchvision's networks bring the preprocessing of their published weights."""

import pytest

from ops.models.networks.torchvision_networks import published_by_torchvision, torchvision_names
from ops.models.preprocessing import Preprocessing


def test_preprocessing_is_that_of_the_default_weights():
    """As torchvision documents it for MobileNet_V3_Small_Weights.IMAGENET1K_V1."""
    facts = published_by_torchvision("mobilenet_v3_small")
    assert facts.preprocessing == Preprocessing(resize="center", crop_pct=0.875)
    assert facts.preprocessing.scaled == 256
    assert facts.source == "torchvision MobileNet_V3_Small_Weights.IMAGENET1K_V1"
    assert facts.file_name == "mobilenet_v3_small-047dcff4.pth"
    assert facts.sha256_prefix == "047dcff4"


@pytest.mark.parametrize("name", torchvision_names())
def test_every_network_has_preprocessing_that_a_release_can_have(name: str):
    """The crop is not larger than the resized photo, whatever network it is."""
    preprocessing = published_by_torchvision(name).preprocessing
    assert preprocessing.size <= preprocessing.scaled
