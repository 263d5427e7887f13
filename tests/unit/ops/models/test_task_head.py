"""A head of any task is tensors and JSON; what a release can't hold is refused."""

import json

import numpy as np
import pytest

from ops.errors import ConfigurationError
from ops.models.release import Head, Manifest, Release
from ops.models.release_files import assemble, decode_heads, encode_heads
from ops.models.task_head import MAX_CONFIG_BYTES, TaskHead
from tests.unit.ops.models.test_release import a_head, a_release


def a_mixed_release() -> Release:
    tensors = {"quantiles": np.arange(6, dtype=np.float32).reshape(2, 3), "rows": np.array(3)}
    price = TaskHead("price", tensors, {"currencies": ["KGS", "USD"], "coverage": 0.8})
    colours = TaskHead("colours")
    return a_release(heads={"category": a_head(), "price": price, "colours": colours})


def test_heads_of_any_task_survive_the_files():
    """Tensors come back bit for bit with their dtype and shape, the settings from the manifest."""
    release = a_mixed_release()
    manifest = Manifest.from_json(release.manifest.to_json())
    assert manifest == release.manifest
    assert manifest.tasks == ("category", "colours", "price")
    heads = decode_heads(encode_heads(release.heads), manifest.taxonomy, manifest.heads)
    again = Release(manifest, release.backbone_state, heads)
    price = again.heads["price"]
    assert isinstance(price, TaskHead)
    assert price.config == {"currencies": ["KGS", "USD"], "coverage": 0.8}
    assert price.tensors["quantiles"].dtype == np.float32
    assert price.tensors["quantiles"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert price.tensors["rows"].shape == ()
    assert again.heads["colours"].tensors == {}
    assert list(again.linear_heads) == ["category"]


def test_a_release_without_other_heads_has_the_manifest_of_before():
    """The JSON has no key `heads`, so old manifests and digests are what they were."""
    release = a_release()
    assert "heads" not in json.loads(release.manifest.to_json())
    assert release.manifest.tasks == ("category",)
    assert Manifest.from_json(release.manifest.to_json()).digest == release.manifest.digest


def test_a_linear_head_may_have_settings():
    """They are in the manifest, and change its digest."""
    head = a_head()
    tree = Head(head.task, head.labels, head.weight, head.bias, {"parents": {"hat": "clothes"}})
    release = a_release(heads={"category": tree})
    assert release.manifest.digest != a_release().manifest.digest
    data = encode_heads(release.heads)
    again = decode_heads(data, release.manifest.taxonomy, release.manifest.heads)
    assert again["category"].config == {"parents": {"hat": "clothes"}}
    plain = decode_heads(data, release.manifest.taxonomy)
    with pytest.raises(ConfigurationError, match="settings in the manifest differ"):
        Release(release.manifest, release.backbone_state, plain)


@pytest.mark.parametrize(
    ("tensors", "config", "what"),
    [
        ({"W": np.zeros(2)}, {}, "lower-case"),
        ({"a.b": np.zeros(2)}, {}, "lower-case"),
        ({"w": [1, 2]}, {}, "numpy array"),
        ({"w": np.array(["text"])}, {}, "can't be stored"),
        ({"w": np.array([object()])}, {}, "can't be stored"),
        ({"w": np.array([np.nan])}, {}, "not finite"),
        ({}, {"x": float("nan")}, "not JSON"),
        ({}, {"x": {1, 2}}, "not JSON"),
        ({}, {"x": (1, 2)}, "use lists"),
        ({}, {1: "x"}, "use lists"),
        ({}, {"x": "y" * MAX_CONFIG_BYTES}, "use tensors"),
    ],
)
def test_what_a_release_cannot_hold_is_refused(tensors, config, what):
    """No object, no NaN, nothing that would come back different."""
    with pytest.raises(ConfigurationError, match=what):
        TaskHead("price", tensors, config)


def test_tensors_of_no_task_are_refused():
    """A file with tensors that no task of the manifest has is not the release's."""
    data = encode_heads(a_mixed_release().heads)
    with pytest.raises(ConfigurationError, match=r"price\.quantiles"):
        decode_heads(data, {"category": ("hat", "shoe", "sofa")}, {"colours": {}})


def test_a_release_of_unlearned_tasks_alone_names_its_dimension():
    """Without a linear head nothing else says how long the embeddings are."""
    release = a_release()
    parts = {
        "backbone": "resnet18",
        "weights_source": "random",
        "preprocessing": release.manifest.preprocessing,
        "backbone_state": release.backbone_state,
        "heads": {"colours": TaskHead("colours")},
        "metrics": {},
    }
    with pytest.raises(ConfigurationError, match="dimension"):
        assemble(**parts)
    assert assemble(**parts, dimension=512).manifest.tasks == ("colours",)
