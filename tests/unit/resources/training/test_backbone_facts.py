"""Backbones are found by name and pattern, and those that no release can have are left out."""

import pytest

from ops.errors import ConfigurationError
from resources.training.backbone_facts import SUGGESTED, chosen_names, describe_backbone


def test_without_a_pattern_the_suggested_ones_are_listed():
    """Each of them is a backbone."""
    assert chosen_names([]) == list(SUGGESTED)
    assert [chosen_names([name]) for name in SUGGESTED] == [[name] for name in SUGGESTED]


def test_patterns_name_backbones_once():
    names = chosen_names(["timm:convnextv2_a*", "timm:convnextv2_*o", "resnet18"])
    assert names[:1] == ["timm:convnextv2_atto"]
    assert names[-1] == "resnet18"
    assert len(names) == len(set(names))
    tagged = "timm:vit_base_patch16_siglip_224.webli"
    assert chosen_names([tagged]) == [tagged]


def test_an_unknown_name_is_an_error():
    with pytest.raises(ConfigurationError, match="Similar: resnet18"):
        chosen_names(["resnet17"])


def test_what_no_release_can_have_is_left_out():
    """Its input is not square."""
    assert describe_backbone("timm:vit_base_patch16_sapiens2.fb") is None
