"""Finds files of published weights: in installed packages, in libraries' caches, by download.

    package     a Python package that has the file, by a pinned SHA-256
    torch hub   TORCH_HOME/hub/checkpoints/NAME-SHA256.pth, of torchvision and timm
    hub         the Hugging Face Hub's cache (HF_HOME), of timm: links to files named by SHA-256

Owns where files are, and which digest each must have. Importing this module does not import torch.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from ops.errors import RetryableError
from ops.models.networks.efficientnet_lite import PACKAGES
from ops.models.networks.published import Published
from ops.models.release import SHA256_HEX, sha256_hex
from resources.training.download import Download

HubDownload = Callable[[str, str], Path]
"""Repository, file name -> the file in the cache; raises RetryableError if the download fails."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of weights. `source` names it in a manifest; `sha256`: its digest or the beginning."""

    path: Path
    source: str
    sha256: str | None


def packaged_file(backbone: str) -> FoundFile | None:
    """The file of a backbone in an installed package; nothing of the package is executed."""
    package = PACKAGES.get(backbone.removesuffix(".in1k"))
    found = None if package is None else find_spec(package.module)
    if package is None or found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "models" / package.file_name
    name = f"package {package.distribution} {version(package.distribution)}"
    return FoundFile(path, name, package.sha256)


def cached_file(published: Published) -> FoundFile | None:
    """A file of the weights in torch hub's cache, or in the Hugging Face Hub's."""
    if published.url and published.sha256_prefix is not None:
        path = _torch_hub_path(published)
        if os.path.exists(path):  # noqa: PTH110 - Path's raises for a closed folder
            return FoundFile(path, published.source, published.sha256_prefix)
    if published.hub is None or not published.hub[1].endswith(".safetensors"):
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(*published.hub)
    return _of_hub(Path(cached), published) if isinstance(cached, str) else None


def downloaded_file(published: Published, fetch: Download, timeout_s: float) -> FoundFile:
    """Download the weights into torch hub's cache; a file with another digest is deleted.

    Raises:
        RetryableError: the download fails, or there is no file that could be checked.
    """
    prefix = published.sha256_prefix
    if prefix is None:
        raise RetryableError("no address of a file with a digest is known")
    path = _torch_hub_path(published)
    fetch(published.url, path, timeout_s)
    if not sha256_hex(path.read_bytes()).startswith(prefix):
        path.unlink()
        raise RetryableError(f"{urlsplit(published.url).hostname} sent another file")
    return FoundFile(path, published.source, prefix)


def downloaded_from_hub(published: Published, fetch: HubDownload) -> FoundFile:
    """Download the weights into the Hugging Face Hub's cache.

    Raises:
        RetryableError: the download fails, or the hub has no safetensors of these weights.
    """
    if published.hub is None or not published.hub[1].endswith(".safetensors"):
        raise RetryableError("the Hugging Face Hub has no safetensors of them that timm names")
    return _of_hub(fetch(*published.hub), published)


def fetch_from_hub(repository: str, file_name: str) -> Path:
    """Download a file by the Hub's own client, completely or not at all.

    Without a network it tries for half a minute.

    Raises:
        RetryableError: the download fails.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file_name, etag_timeout=10))
    except Exception as error:
        raise RetryableError(f"the Hugging Face Hub: {str(error).splitlines()[0]}") from error


def _of_hub(path: Path, published: Published) -> FoundFile:
    name = path.resolve().name
    return FoundFile(path, published.source, name if SHA256_HEX.fullmatch(name) else None)


def _torch_hub_path(published: Published) -> Path:
    import torch.hub

    return Path(os.fspath(torch.hub.get_dir())) / "checkpoints" / published.file_name
