"""A release is written once, and read only if every byte matches its digest."""

import hashlib
import json
import pickle
import uuid

import numpy as np
import pytest

from ops.errors import ConfigurationError
from ops.models.release import Release
from ops.models.release_files import encode_backbone
from resources.storage.releases import ReleaseStore
from tests.unit.ops.models.test_release import a_head, a_release


@pytest.fixture
def store(tmp_path):
    return ReleaseStore(str(tmp_path / "store"))


def folder(tmp_path, digest):
    return tmp_path / "store" / "releases" / digest


@pytest.mark.parametrize("kind", ["path", "file", "memory"])
def test_saved_release_is_read_back(tmp_path, kind):
    """The contract of every kind of store: what was saved comes back, equal."""
    urls = {
        "path": str(tmp_path / "store"),
        "file": f"file://{tmp_path}/store",
        "memory": f"memory://{uuid.uuid4().hex}",
    }
    store, release = ReleaseStore(urls[kind]), a_release()
    assert store.list() == ()
    manifest = store.save(release)
    again = store.load(manifest.digest)
    assert again.manifest == release.manifest == store.manifest(manifest.digest)
    for name, array in release.backbone_state.items():
        assert np.array_equal(again.backbone_state[name], array)
    assert np.array_equal(again.heads["category"].weight, release.heads["category"].weight)
    assert store.list() == (manifest.digest,)


def test_same_release_again_writes_nothing(store, tmp_path):
    """Saving twice leaves the files unchanged, and no temporary files."""
    digest = store.save(a_release()).digest
    before = {p.name: p.stat().st_mtime_ns for p in folder(tmp_path, digest).iterdir()}
    store.save(a_release())
    after = {p.name: p.stat().st_mtime_ns for p in folder(tmp_path, digest).iterdir()}
    assert before == after
    assert set(after) == {"manifest.json", "backbone.safetensors", "heads.safetensors"}


def test_half_written_release_does_not_exist(store, tmp_path):
    """Without the manifest, written last, a folder is no release; saving again completes it."""
    digest = store.save(a_release()).digest
    (folder(tmp_path, digest) / "manifest.json").unlink()
    assert store.list() == ()
    with pytest.raises(ConfigurationError, match="not in the store"):
        store.load(digest)
    store.save(a_release())
    assert store.list() == (digest,)


@pytest.mark.parametrize("name", ["manifest.json", "backbone.safetensors", "heads.safetensors"])
@pytest.mark.parametrize("harm", ["bit", "cut", "empty", "pickle", "swap"])
def test_harmed_file_is_refused(store, tmp_path, name, harm):
    """A changed bit, a missing byte, another format, another release's file: all are refused."""
    digest = store.save(a_release()).digest
    changed = {"backbone_state": {"conv.weight": np.zeros((2, 3), np.float32)}}
    other = store.save(a_release(heads={"category": a_head(seed=9)}, **changed)).digest
    path = folder(tmp_path, digest) / name
    data = path.read_bytes()
    path.write_bytes(
        {
            "bit": data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
            "cut": data[:-1],
            "empty": b"",
            "pickle": pickle.dumps({"weight": 1}),
            "swap": (folder(tmp_path, other) / name).read_bytes(),
        }[harm]
    )
    with pytest.raises(ConfigurationError, match="damaged or altered"):
        store.load(digest)
    store.save(a_release())  # the repair that the message names
    assert store.load(digest).manifest.digest == digest


def test_oversized_file_is_refused_unread(store, tmp_path):
    """A manifest of gigabytes is refused by its size, before it is read."""
    digest = store.save(a_release()).digest
    with (folder(tmp_path, digest) / "manifest.json").open("r+b") as file:
        file.truncate(2**30)
    with pytest.raises(ConfigurationError, match="more than"):
        store.load(digest)


@pytest.mark.parametrize("digest", ["", "abc", "../" * 21 + "x", "A" * 64, "0" * 63 + "/"])
def test_odd_digest_never_becomes_a_path(store, digest):
    """Only 64 hexadecimal digits are looked up."""
    with pytest.raises(ConfigurationError, match="not a release digest"):
        store.load(digest)


def test_unknown_release_and_foreign_folders(store, tmp_path):
    """An unknown digest is reported as missing; other folders are not listed."""
    digest = store.save(a_release()).digest
    foreign = tmp_path / "store" / "releases" / "notes"
    foreign.mkdir()
    (foreign / "manifest.json").write_text("{}")
    assert store.list() == (digest,)
    with pytest.raises(ConfigurationError, match="not in the store"):
        store.load("0" * 64)


def test_names_inside_a_manifest_build_no_path(store, tmp_path):
    """A manifest that names a file elsewhere is refused, even under its own digest."""
    record = json.loads(a_release().manifest.to_json())
    record["files"] = {"../../secret": "0" * 64, "heads.safetensors": "0" * 64}
    text = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(text).hexdigest()
    folder(tmp_path, digest).mkdir(parents=True)
    (folder(tmp_path, digest) / "manifest.json").write_bytes(text)
    with pytest.raises(ConfigurationError, match="not a release"):
        store.load(digest)


def test_weights_other_than_the_manifests_are_not_saved(store):
    """A release whose arrays were changed after it was named is refused."""
    release = a_release()
    state = {**release.backbone_state, "conv.weight": np.zeros((2, 3), np.float32)}
    with pytest.raises(ConfigurationError, match="does not match its manifest"):
        store.save(Release(release.manifest, state, release.heads))


def test_bad_store_url():
    """The error for an unknown protocol names the setting."""
    with pytest.raises(ConfigurationError, match="LALAFO_STORE_URL"):
        ReleaseStore("nosuch://bucket")


def test_encoding_does_not_depend_on_memory_layout():
    """A transposed view is written as its values, in order."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert encode_backbone({"w": array}) == encode_backbone({"w": array.copy(order="C")})
