"""Finds the weights that a backbone starts from, by explicit choice, with their source as text.

    file:PATH    .safetensors, or a .pth that is read as tensors alone
    pretrained   published ones: from a cache, from a package, or by download; digests checked
    starter      the weights shipped by the caller, passed as a function
    auto         a cache, a package, a short download, the starter: the first that has them

Where no backbone is named, `auto` takes the packaged EfficientNet-Lite0, else the starter. Owns the
order. Never replaces one choice by another: only `auto` has fallbacks. Importing this module does
not import torch; finding weights does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ops.errors import ConfigurationError, RetryableError
from ops.models.networks.efficientnet_lite import (
    LITE_NAME,
    as_the_original,
    has_original_names,
    with_timm_names,
)
from ops.models.networks.names import PACKAGED_BACKBONE, STARTER_BACKBONE, TIMM
from ops.models.preprocessing import Preprocessing
from ops.models.release import State, sha256_hex
from ops.models.release_files import encode_backbone
from resources.training.download import Download, download_file
from resources.training.published_files import (
    FoundFile,
    HubDownload,
    cached_file,
    downloaded_file,
    downloaded_from_hub,
    fetch_from_hub,
    packaged_file,
)
from resources.training.weight_files import as_state, read_weights

if TYPE_CHECKING:
    from torch import Tensor

    from ops.models.networks.published import Published

Starter = Callable[[str], State]
"""Backbone name -> weights; raises ConfigurationError if none are shipped for it."""

ANY = "auto"
"""A backbone's name where none is asked for: the best one whose weights are here."""

AUTO_DOWNLOAD_S = 20.0  # a first run should not wait long
PRETRAINED_DOWNLOAD_S = 600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class StartingWeights:
    """A backbone's weights, perhaps with a classification head, and how photos are prepared.

    `source` becomes the manifest's `weights_source`.
    """

    backbone: str
    state: State
    preprocessing: Preprocessing
    source: str


@dataclass(frozen=True, slots=True)
class _Doors:
    """How files are fetched; tests pass their own."""

    download: Download
    hub: HubDownload


def starting_weights(
    choice: str,
    backbone: str,
    *,
    starter: Starter,
    download: Download | None = None,
    hub: HubDownload | None = None,
) -> StartingWeights:
    """Weights for a backbone by "file:PATH", "pretrained", "starter" or "auto".

    Args:
        backbone: a name, or "auto": the backbone follows from the choice.
        download: fetches a file; None: over HTTPS.
        hub: fetches a file of the Hugging Face Hub; None: by its client.

    Raises:
        ConfigurationError: the choice is unknown or not available, a file is invalid, or the
            weights are another network's; the message names the alternatives.
    """
    doors = _Doors(
        download_file if download is None else download, fetch_from_hub if hub is None else hub
    )
    if choice.startswith("file:"):
        return _from_file(Path(choice.removeprefix("file:")), backbone)
    if choice == "starter":
        return _from_starter(STARTER_BACKBONE if backbone == ANY else backbone, starter)
    if choice == "pretrained":
        return _pretrained(PACKAGED_BACKBONE if backbone == ANY else backbone, doors)
    if choice == "auto":
        return _auto(backbone, starter, doors)
    raise ConfigurationError(
        f"Unknown weights {choice!r}: expected auto, pretrained, starter or file:PATH."
    )


def weights_here(backbone: str) -> tuple[str, ...]:
    """What `auto` and `pretrained` would find without a network: "cache", "package".

    Raises:
        ConfigurationError: the backbone is unknown.
    """
    from ops.models.backbones import published

    found = {"cache": cached_file(published(backbone)), "package": packaged_file(backbone)}
    return tuple(name for name, file in found.items() if file is not None)


def _auto(backbone: str, starter: Starter, doors: _Doors) -> StartingWeights:
    if backbone == ANY:
        packaged = packaged_file(PACKAGED_BACKBONE)
        if packaged is not None:
            return _read(PACKAGED_BACKBONE, packaged)
        return _instead(STARTER_BACKBONE, starter, "no package of pretrained weights is installed")
    try:
        return _read(backbone, _found(backbone, doors, AUTO_DOWNLOAD_S))
    except RetryableError as error:
        reason = str(error)
    return _instead(backbone, starter, reason)


def _instead(backbone: str, starter: Starter, reason: str) -> StartingWeights:
    _log.warning("weights.pretrained_unavailable", using="starter", backbone=backbone, error=reason)
    weights = _from_starter(backbone, starter)
    source = f"{weights.source} (auto: no pretrained weights were to be had)"
    return StartingWeights(backbone, weights.state, weights.preprocessing, source)


def _from_starter(backbone: str, starter: Starter) -> StartingWeights:
    state = starter(backbone)
    digest = sha256_hex(encode_backbone(state))
    source = f"starter for {backbone} sha256:{digest[:12]}"
    return StartingWeights(backbone, state, Preprocessing(), source)


def _pretrained(backbone: str, doors: _Doors) -> StartingWeights:
    from ops.models.backbones import published

    try:
        return _read(backbone, _found(backbone, doors, PRETRAINED_DOWNLOAD_S, from_hub=True))
    except RetryableError as error:
        facts = published(backbone)
        files = [facts.file_name] if facts.sha256_prefix is not None else []
        files += [] if facts.hub is None else [f"{facts.hub[0]}/{facts.hub[1]}"]
        raise ConfigurationError(
            f"Published weights for {backbone} are neither cached nor available for download: "
            f"{error}. Put {' or '.join(files) or 'them'} into its library's cache "
            "(TORCH_HOME/hub/checkpoints, HF_HOME), or choose --weights starter or "
            "--weights file:PATH."
        ) from error


def _found(backbone: str, doors: _Doors, timeout_s: float, *, from_hub: bool = False) -> FoundFile:
    """Published weights from the nearest place that has them; raises RetryableError if none."""
    from ops.models.backbones import published

    facts = published(backbone)
    here = cached_file(facts) or packaged_file(backbone)
    if here is not None:
        return here
    if from_hub and facts.sha256_prefix is None:
        return downloaded_from_hub(facts, doors.hub)
    return downloaded_file(facts, doors.download, timeout_s)


def _read(backbone: str, found: FoundFile) -> StartingWeights:
    from ops.models.backbones import published

    tensors, digest = read_weights(found.path, sha256=found.sha256)
    source = f"{found.source} sha256:{digest[:12]}"
    return _checked(backbone, tensors, published(backbone), source)


def _from_file(path: Path, backbone: str) -> StartingWeights:
    from ops.models.backbones import published

    tensors, digest = read_weights(path)
    source = f"file {path.name} sha256:{digest[:12]}"
    if backbone != ANY:
        return _checked(backbone, tensors, published(backbone), source)
    for name in (PACKAGED_BACKBONE, STARTER_BACKBONE):
        try:
            return _checked(name, tensors, published(name), source)
        except ConfigurationError:
            continue
    raise ConfigurationError(
        f"{path} has neither the weights of {PACKAGED_BACKBONE} nor those of {STARTER_BACKBONE}: "
        "name its network with --backbone."
    )


def _checked(
    backbone: str, tensors: "dict[str, Tensor]", facts: "Published", source: str
) -> StartingWeights:
    """The weights by the backbone's parameter names; raises ConfigurationError if they are not."""
    from ops.models.backbones import check_weights

    state, preprocessing = as_state(tensors), facts.preprocessing
    if LITE_NAME.fullmatch(backbone) and has_original_names(state):
        state, preprocessing = with_timm_names(backbone, state), as_the_original(preprocessing)
    try:
        state = check_weights(backbone, state).state
    except ConfigurationError:
        if not backbone.startswith(TIMM):
            raise
        from ops.models.networks.timm_networks import load_published

        converted = as_state(load_published(backbone.removeprefix(TIMM), tensors))
        state = check_weights(backbone, converted).state
    return StartingWeights(backbone, state, preprocessing, source)
