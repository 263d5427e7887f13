"""Reads a file of weights: .safetensors, or a PyTorch checkpoint of tensors alone.

Owns the checks of its size, digest and format. A checkpoint is read with `weights_only=True`, which
executes nothing, and only here: releases have safetensors. Importing this module does not import
torch; reading does.
"""

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.errors import ConfigurationError
from ops.models.release import State, sha256_hex
from resources.training.download import MAX_BYTES

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".pth", ".pt")
_HASHED = re.compile(r".*-([0-9a-f]{8,64})\.pth")
_WRAPPERS = ("state_dict", "model")  # keys under which training programs save a state dict


def read_weights(path: Path, *, sha256: str | None = None) -> tuple[dict[str, "Tensor"], str]:
    """The tensors of a file by name, and the file's SHA-256 in hex.

    Args:
        sha256: the digest that the file must have, or its beginning. None: the digits in a name as
            `resnet18-f37072fd.pth`, if it has such a one.

    Raises:
        ConfigurationError: it can't be read, is too large, has another digest or another format.
    """
    data = _bytes(path)
    digest = sha256_hex(data)
    named = _HASHED.fullmatch(path.name)
    expected = named.group(1) if sha256 is None and named is not None else sha256
    if expected is not None and not digest.startswith(expected):
        raise ConfigurationError(
            f"{path} is damaged or altered: its SHA-256 begins with {digest[:8]}, expected "
            f"{expected[:8]}. Delete it and try again."
        )
    tensors = _safetensors(path, data) if path.suffix == ".safetensors" else _checkpoint(path, data)
    return tensors, digest


def as_state(tensors: "Mapping[str, Tensor]") -> State:
    """The same weights as arrays; floating-point numbers become float32."""
    return {
        str(name): (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        for name, tensor in tensors.items()
    }


def _bytes(path: Path) -> bytes:
    if path.suffix not in SUFFIXES:
        raise ConfigurationError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigurationError(f"{path}: more than {MAX_BYTES} bytes.")
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}.") from error


def _safetensors(path: Path, data: bytes) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ConfigurationError(f"{path} is not a safetensors file: {error}") from error


def _checkpoint(path: Path, data: bytes) -> "dict[str, Tensor]":
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickles by other programs than torch
            loaded: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        wrapped = (loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), Mapping))
        loaded = next(wrapped, loaded)
        return {str(name): tensor.detach() for name, tensor in loaded.items()}
    except Exception:  # noqa: BLE001 - a damaged pickle raises whatever its bytes lead to
        # not chained: torch's own message suggests switching the protection off
        raise ConfigurationError(
            f"{path} is not a state dict of tensors alone (read with weights_only=True)."
        ) from None
