"""Starting weights come from the requested source, and from no other."""

import functools
import hashlib
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError, RetryableError
from ops.models.backbones import Backbone
from ops.models.release_files import encode_backbone
from resources.inference.device import choose_device, describe_device
from resources.training import weights
from resources.training.weights import download_file, starting_weights

NAME = "mobilenet_v3_small"


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


def test_other_files_are_refused(tmp_path):
    """A .pth says how to convert it; a pickle by another name and a missing file are refused."""
    for name in ("mine.pth", "mine.pt", "mine"):
        (tmp_path / name).write_bytes(b"\x80\x04.")
        with pytest.raises(ConfigurationError, match="save_file"):
            starting_weights(f"file:{tmp_path / name}", NAME, starter=no_starter)
    (tmp_path / "mine.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(ConfigurationError, match="not a safetensors file"):
        starting_weights(f"file:{tmp_path}/mine.safetensors", NAME, starter=no_starter)
    with pytest.raises(ConfigurationError, match="can't be read"):
        starting_weights(f"file:{tmp_path}/none.safetensors", NAME, starter=no_starter)


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
