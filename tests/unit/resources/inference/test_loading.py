"""A release whose weights are not its backbone's is refused where it is installed."""

import numpy as np
import pytest

from ops.errors import ConfigurationError
from ops.models.release import Head, Release
from ops.models.release_files import assemble
from resources.inference.loading import backbone_key, check_backbone_of
from tests.support.random_release import random_release


def remade(release: Release, **changes: object) -> Release:
    manifest = release.manifest
    parts = {
        "backbone": manifest.backbone,
        "weights_source": manifest.weights_source,
        "preprocessing": manifest.preprocessing,
        "backbone_state": release.backbone_state,
        "heads": release.heads,
        "metrics": {},
    }
    return assemble(**{**parts, **changes})


@pytest.fixture(scope="module")
def release() -> Release:
    return random_release()


def test_a_consistent_release_is_accepted(release: Release):
    check_backbone_of(release)


def test_another_networks_weights_are_refused(release: Release):
    for name in ("mobilenet_v3_large", "timm:tf_efficientnet_lite0"):
        with pytest.raises(ConfigurationError, match=f"not {name}'s"):
            check_backbone_of(remade(release, backbone=name))
    with pytest.raises(ConfigurationError, match="Unknown backbone"):
        check_backbone_of(remade(release, backbone="mobilenet_v9"))


def test_weights_that_are_no_numbers_are_refused(release: Release):
    name = "features.0.0.weight"
    state = {**release.backbone_state, name: release.backbone_state[name] * np.float32("nan")}
    with pytest.raises(ConfigurationError, match="not finite"):
        check_backbone_of(remade(release, backbone_state=state))


def test_heads_of_another_length_are_refused(release: Release):
    head = release.heads["category"]
    short = Head("category", head.labels, head.weight[:, :64], head.bias)
    with pytest.raises(ConfigurationError, match="64 dimensions, its backbone 576"):
        check_backbone_of(remade(release, heads={"category": short}))


def test_names_of_timm_are_safe_in_keys_and_paths(release: Release):
    """Without the colon and the dot of a name with a tag; the manifest has the whole name."""
    named = remade(release, backbone="timm:mobilenetv3_small_100.lamb_in1k")
    digits = named.manifest.backbone_digest[:12]
    assert backbone_key(named.manifest) == f"mobilenetv3_small_100_lamb_in1k-{digits}"
    assert named.manifest.name.startswith("mobilenetv3_small_100_lamb_in1k-")
    assert ":" not in named.manifest.name
    assert named.backbone.name == "timm:mobilenetv3_small_100.lamb_in1k"
