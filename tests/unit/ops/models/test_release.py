"""A release is identified by its content, and an invalid one is rejected."""

import hashlib
import json

import numpy as np
import pytest

from ops.errors import ConfigurationError
from ops.models.release import Head, Manifest, Preprocessing, Release
from ops.models.release_files import (
    assemble,
    decode_backbone,
    decode_heads,
    encode_backbone,
    encode_heads,
)


def a_head(task="category", labels=("hat", "shoe", "sofa"), dimension=4, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(len(labels), dimension)).astype(np.float32)
    return Head(task, labels, weight, np.zeros(len(labels), np.float32))


def a_release(**changes):
    parts = {
        "backbone": "resnet18",
        "weights_source": "random",
        "preprocessing": Preprocessing(size=64),
        "backbone_state": {
            "conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
            "bn.num_batches_tracked": np.array(3),
        },
        "heads": {"category": a_head()},
        "metrics": {"accuracy": 0.9, "curve": (1, 2)},
    }
    return assemble(**(parts | changes))


def edited(**changes):
    record = json.loads(a_release().manifest.to_json())
    record.update(changes)
    return json.dumps(record, sort_keys=True, separators=(",", ":"))


def test_manifest_survives_json():
    """A manifest that is read back is equal, with the same digest and name."""
    manifest = a_release().manifest
    again = Manifest.from_json(manifest.to_json().encode())
    assert again == manifest
    assert again.digest == hashlib.sha256(manifest.to_json().encode()).hexdigest()
    assert again.name == f"resnet18-{again.digest[:12]}"


def test_same_parts_give_the_same_digest():
    """The order of the weights and of the metrics' keys does not change the digest."""
    state = a_release().backbone_state
    turned = dict(reversed(list(state.items())))
    other = a_release(backbone_state=turned, metrics={"curve": [1, 2], "accuracy": 0.9})
    assert other.manifest.digest == a_release().manifest.digest


def test_head_only_release_shares_embeddings():
    """Another head gives another release of the same backbone; other preprocessing does not."""
    first, second = a_release(), a_release(heads={"category": a_head(seed=1)})
    assert first.manifest.digest != second.manifest.digest
    assert first.manifest.backbone_digest == second.manifest.backbone_digest
    third = a_release(preprocessing=Preprocessing(size=96))
    assert third.manifest.backbone_digest != first.manifest.backbone_digest


def test_backbone_digest_is_what_the_contract_says():
    """SHA-256 over name, preprocessing and file, computed by hand."""
    release = a_release()
    text = (
        '{"backbone":"resnet18","preprocessing":{"mean":[0.485,0.456,0.406],'
        '"resize":"squash","size":64,"std":[0.229,0.224,0.225]},"sha256":"'
        + hashlib.sha256(encode_backbone(release.backbone_state)).hexdigest()
        + '"}'
    )
    assert release.manifest.backbone_digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": 1},
        {"schema": 2},
        {"schema": True},
        {"backbone": "../resnet18"},
        {"weights_source": ""},
        {"dimension": "4"},
        {"dimension": 0},
        {"files": {}},
        {"files": {"backbone.safetensors": "0" * 64, "../heads": "0" * 64}},
        {"files": {"backbone.safetensors": "0" * 64, "heads.safetensors": "0" * 64}},
        {"files": []},
        {"taxonomy": {}},
        {"taxonomy": {"category": ["hat"]}},
        {"taxonomy": {"category": ["hat", "hat"]}},
        {"taxonomy": {"category": ["hat", ["sofa"]]}},
        {"taxonomy": {"category": "hat"}},
        {"taxonomy": {"a/b": ["hat", "sofa"]}},
        {"preprocessing": {"size": 64}},
        {"preprocessing": {"size": 64, "resize": "crop", "mean": [0.5] * 3, "std": [0.5] * 3}},
        {"preprocessing": {"size": 64, "resize": "squash", "mean": [0.5], "std": [0.5] * 3}},
        {"preprocessing": {"size": 64, "resize": "squash", "mean": [0.5] * 3, "std": [0.0] * 3}},
        {"preprocessing": {"size": 9, "resize": "squash", "mean": [0.5] * 3, "std": [0.5] * 3}},
        {"metrics": []},
        {"backbone_digest": "0" * 64},
    ],
)
def test_an_invalid_manifest_is_rejected(changes):
    """Unknown, missing and wrong keys and values are errors."""
    with pytest.raises(ConfigurationError, match="not a release"):
        Manifest.from_json(edited(**changes))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'"text"', "7"])
def test_not_a_manifest(text):
    """Bytes that are not a manifest are rejected."""
    with pytest.raises(ConfigurationError):
        Manifest.from_json(text)


def test_a_missing_key_and_json_that_is_not_canonical_are_rejected():
    """A missing key, or the same record in another notation, does not match the digest."""
    record = json.loads(a_release().manifest.to_json())
    with pytest.raises(ConfigurationError, match="not canonical"):
        Manifest.from_json(json.dumps(record))
    del record["dimension"]
    with pytest.raises(ConfigurationError, match="missing keys"):
        Manifest.from_json(json.dumps(record, sort_keys=True, separators=(",", ":")))


def test_weights_survive_their_files():
    """Arrays that are read back are equal, also scalars."""
    release = a_release()
    state = decode_backbone(encode_backbone(release.backbone_state))
    assert state.keys() == release.backbone_state.keys()
    for name, array in release.backbone_state.items():
        assert state[name].shape == array.shape
        assert np.array_equal(state[name], array)
    heads = decode_heads(encode_heads(release.heads), release.manifest.taxonomy)
    assert np.array_equal(heads["category"].weight, release.heads["category"].weight)
    assert heads["category"].labels == ("hat", "shoe", "sofa")


def test_heads_file_of_another_taxonomy_is_rejected():
    """A missing or surplus head is rejected, and so is one of another length."""
    data = encode_heads({"category": a_head()})
    with pytest.raises(ConfigurationError, match="safetensors has"):
        decode_heads(data, {"category": ("hat", "shoe", "sofa"), "price": ("low", "high")})
    with pytest.raises(ConfigurationError, match="labels"):
        decode_heads(data, {"category": ("hat", "shoe")})


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04\x95", b"\xff" * 64])
def test_other_files_are_rejected(data):
    """A pickle or a zip is not read as weights."""
    with pytest.raises(ConfigurationError, match="not a safetensors file"):
        decode_backbone(data)


def test_head_and_release_must_agree():
    """Shapes, types, numbers and names of heads are checked by the constructors."""
    good = a_head()
    with pytest.raises(ConfigurationError, match="float32"):
        Head("category", good.labels, good.weight.astype(np.float64), good.bias)
    with pytest.raises(ConfigurationError, match="finite"):
        Head("category", good.labels, good.weight * np.float32("nan"), good.bias)
    with pytest.raises(ConfigurationError, match="labels"):
        Head("category", ("hat", "shoe"), good.weight, good.bias)
    release = a_release()
    with pytest.raises(ConfigurationError, match="differ"):
        Release(release.manifest, release.backbone_state, {})
    with pytest.raises(ConfigurationError, match="filed under"):
        a_release(heads={"price": good})
    with pytest.raises(ConfigurationError, match="reads"):
        a_release(heads={"category": good, "price": a_head("price", dimension=5)})
    with pytest.raises(ConfigurationError, match="at least one head"):
        a_release(heads={})
    with pytest.raises(ConfigurationError, match="stored in a manifest"):
        a_release(metrics={"accuracy": float("nan")})
