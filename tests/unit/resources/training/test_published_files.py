"""Files of published weights are fetched completely, and verified by what names them."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.errors import RetryableError
from ops.models.networks.published import Published
from ops.models.preprocessing import Preprocessing
from resources.training.published_files import (
    cached_file,
    downloaded_file,
    downloaded_from_hub,
    fetch_from_hub,
)

DATA = b"weights" * 1_000
SHA256 = hashlib.sha256(DATA).hexdigest()
OF_HUB = Published("timm x", Preprocessing(), hub=("timm/x", "model.safetensors"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """A server that answers as the Hugging Face Hub does, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            asked.append(self.path)
            found = self.path == "/timm/x/resolve/main/model.safetensors"
            self.send_response(200 if found else 404)
            self.send_header("ETag", f'"{SHA256}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(DATA)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    addresses = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", addresses)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_hubs_file_is_kept_under_its_digest(hub: list[str]):
    """By the Hub's own client; the second time it is in the cache."""
    assert cached_file(OF_HUB) is None
    found = downloaded_from_hub(OF_HUB, fetch_from_hub)
    assert found.path.read_bytes() == DATA
    assert found.sha256 == SHA256
    assert cached_file(OF_HUB) == found


def test_what_the_hub_lacks_is_a_fault_of_the_network(hub: list[str]):
    with pytest.raises(RetryableError, match="the Hugging Face Hub"):
        fetch_from_hub("timm/y", "model.safetensors")


def test_pickles_of_the_hub_are_not_fetched():
    """Its cache has no digest of them in their name, nor does timm know one."""
    pickled = Published("timm x", Preprocessing(), hub=("timm/x", "pytorch_model.bin"))
    assert cached_file(pickled) is None
    with pytest.raises(RetryableError, match="no safetensors"):
        downloaded_from_hub(pickled, lambda repository, name: pytest.fail("it was fetched"))


def test_an_address_without_a_digest_is_not_fetched():
    """What can't be checked is not used."""
    nameless = Published("timm x", Preprocessing(), url="https://weights.invalid/x.pth")
    with pytest.raises(RetryableError, match="no address of a file with a digest"):
        downloaded_file(nameless, lambda url, path, timeout: pytest.fail("it was fetched"), 1.0)
