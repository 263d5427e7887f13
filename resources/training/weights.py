"""Loads the weights that a backbone starts from, by explicit choice, with their source as text.

    file:PATH    a state dict with torchvision's names, .safetensors only
    pretrained   torchvision's, from torch hub's cache or by download, SHA-256 checked
    starter      the weights shipped by the caller, passed as a function
    auto         pretrained if cached, else by a short download, else the starter

Owns the order and the checks. Never replaces one choice by another: only `auto` has fallbacks.
Importing this module does not import torch; loading pretrained weights does.
"""

import contextlib
import io
import os
import pickle
import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import structlog

from ops.errors import ConfigurationError, RetryableError
from ops.models.release import State, sha256_hex
from ops.models.release_files import decode_backbone, encode_backbone

Starter = Callable[[str], State]
"""Backbone name -> weights; raises ConfigurationError if none are shipped for it."""

Download = Callable[[str, Path, float], None]
"""URL, target file, time limit in seconds; raises RetryableError if the download fails."""

AUTO_DOWNLOAD_S = 20.0  # a first run should not wait long: the starter is good enough
PRETRAINED_DOWNLOAD_S = 600.0
_MAX_BYTES = 4 * 2**30
_HASHED_NAME = re.compile(r"[A-Za-z0-9_.]+-([0-9a-f]{8,64})\.pth")
_CONVERT = (
    "Convert it once, if you trust it: safetensors.torch.save_file("
    "torch.load(PATH, weights_only=True), 'weights.safetensors')."
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class StartingWeights:
    """Weights by torchvision's names, perhaps with a classification head, and their source.

    `source` becomes the manifest's `weights_source`.
    """

    state: State
    source: str


@dataclass(frozen=True, slots=True)
class _Published:
    """Weights that torchvision publishes."""

    name: str
    url: str
    path: Path  # in torch hub's cache
    sha256_prefix: str


def starting_weights(
    choice: str, backbone: str, *, starter: Starter, download: Download | None = None
) -> StartingWeights:
    """Weights for a backbone by "file:PATH", "pretrained", "starter" or "auto".

    Args:
        download: fetches a file; None: over HTTPS.

    Raises:
        ConfigurationError: the choice is unknown or not available, or a file is invalid; the
            message names the alternatives.
    """
    fetch = download if download is not None else download_file
    if choice.startswith("file:"):
        return _from_file(Path(choice.removeprefix("file:")))
    if choice == "starter":
        return _from_starter(backbone, starter)
    if choice == "pretrained":
        return _pretrained(backbone, fetch)
    if choice == "auto":
        return _auto(backbone, starter, fetch)
    raise ConfigurationError(
        f"Unknown weights {choice!r}: expected auto, pretrained, starter or file:PATH."
    )


def download_file(url: str, target: Path, timeout_s: float) -> None:
    """Download a URL to a file, completely or not at all.

    Raises:
        RetryableError: the download failed, exceeded the time limit, or is too large.
    """
    deadline = time.monotonic() + timeout_s
    unfinished = target.with_name(f"{target.name}.{secrets.token_hex(8)}.tmp")
    host = urlsplit(url).hostname
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
    except OSError as error:
        raise RetryableError(
            f"{target.parent} can't be written ({error.strerror}): set TORCH_HOME to a folder that "
            "can be"
        ) from error
    try:
        with (
            urllib.request.urlopen(url, timeout=min(timeout_s, 10.0)) as response,  # noqa: S310 - torchvision's own URL
            unfinished.open("wb") as file,
        ):
            size = 0
            for block in iter(lambda: cast(bytes, response.read(2**20)), b""):
                size += file.write(block)
                if size > _MAX_BYTES or time.monotonic() > deadline:
                    raise RetryableError(
                        f"{host} sent no complete file of at most {_MAX_BYTES} bytes within "
                        f"{timeout_s:.0f} s"
                    )
            length = response.headers.get("Content-Length")
            if length is not None and int(length) != size:
                raise RetryableError(f"{host} sent {size} of {length} bytes")
        unfinished.replace(target)
    except (OSError, urllib.error.URLError) as error:
        raise RetryableError(f"{host} can't be reached: {error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()


def _auto(backbone: str, starter: Starter, fetch: Download) -> StartingWeights:
    try:
        return _read_published(_download_if_missing(_published(backbone), fetch, AUTO_DOWNLOAD_S))
    except RetryableError as error:
        reason = str(error)
    _log.warning("weights.pretrained_unavailable", using="starter", backbone=backbone, error=reason)
    weights = _from_starter(backbone, starter)
    return StartingWeights(
        weights.state, f"{weights.source} (auto: no pretrained weights were to be had)"
    )


def _from_starter(backbone: str, starter: Starter) -> StartingWeights:
    state = starter(backbone)
    digest = sha256_hex(encode_backbone(state))
    return StartingWeights(state, f"starter for {backbone} sha256:{digest[:12]}")


def _pretrained(backbone: str, fetch: Download) -> StartingWeights:
    published = _published(backbone)
    try:
        return _read_published(_download_if_missing(published, fetch, PRETRAINED_DOWNLOAD_S))
    except RetryableError as error:
        raise ConfigurationError(
            f"torchvision's weights for {backbone} are neither cached nor available for download: "
            f"{error}. Put {published.path.name} into that cache (TORCH_HOME/hub/checkpoints), "
            "or choose --weights starter or --weights file:PATH.safetensors."
        ) from error


def _download_if_missing(published: _Published, fetch: Download, timeout_s: float) -> _Published:
    """Download the file unless it is cached; a download with a wrong digest is deleted."""
    if not os.path.exists(published.path):  # noqa: PTH110 - Path's raises for a closed folder
        fetch(published.url, published.path, timeout_s)
        digest = sha256_hex(published.path.read_bytes())
        if not digest.startswith(published.sha256_prefix):
            published.path.unlink()
            raise RetryableError(f"{urlsplit(published.url).hostname} sent another file")
    return published


def _published(backbone: str) -> _Published:
    import torch.hub
    import torchvision

    from ops.models.backbones import known_backbones

    if backbone not in known_backbones():
        raise ConfigurationError(
            f"Unknown backbone {backbone!r}. Known: {', '.join(known_backbones())}."
        )
    weights: Any = torchvision.models.get_model_weights(backbone).DEFAULT
    name = str(weights.url).rsplit("/", 1)[-1]
    match = _HASHED_NAME.fullmatch(name)
    if match is None:
        raise ConfigurationError(
            f"torchvision publishes {name} without a digest, so it can't be checked: choose "
            "--weights file:PATH.safetensors."
        )
    folder = Path(os.fspath(torch.hub.get_dir())) / "checkpoints"
    return _Published(str(weights), str(weights.url), folder / name, match.group(1))


def _read_published(published: _Published) -> StartingWeights:
    import torch

    try:
        data = published.path.read_bytes()
    except OSError as error:
        raise RetryableError(f"{published.path} can't be read ({error.strerror})") from error
    digest = sha256_hex(data)
    if not digest.startswith(published.sha256_prefix):
        raise ConfigurationError(
            f"{published.path} is damaged or altered: its SHA-256 begins with {digest[:8]}, "
            f"expected {published.sha256_prefix}. Delete it and try again."
        )
    # weights_only reads tensors and executes nothing since torch 2.6; 2.11 is required here
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        state = {str(name): tensor.numpy() for name, tensor in loaded.items()}
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError):
        # not chained: torch's own message suggests switching the protection off
        raise ConfigurationError(
            f"{published.path} is not a state dict of tensors alone (read with weights_only=True)."
        ) from None
    return StartingWeights(state, f"torchvision {published.name} sha256:{digest[:12]}")


def _from_file(path: Path) -> StartingWeights:
    if path.suffix != ".safetensors":
        raise ConfigurationError(
            f"--weights file:{path}: only .safetensors is accepted, since other checkpoints can "
            f"execute code. {_CONVERT}"
        )
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigurationError(f"--weights file:{path}: more than {_MAX_BYTES} bytes.")
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"--weights file:{path} can't be read: {error}.") from error
    digest = sha256_hex(data)
    return StartingWeights(decode_backbone(data), f"file {path.name} sha256:{digest[:12]}")
