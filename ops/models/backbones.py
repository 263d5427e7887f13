"""Backbones by name: a network of torchvision or, after "timm:", of timm, without its head.

Owns the names, and the check that weights are a network's. Does not depend on where weights come
from (resources/training/weights.py). Importing this module imports torch and torchvision, so only
runs import it; timm is imported for its names alone.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ops.errors import ConfigurationError
from ops.models.networks.built import BuiltNetwork
from ops.models.networks.names import TIMM
from ops.models.networks.published import Published
from ops.models.networks.torchvision_networks import (
    build_torchvision,
    published_by_torchvision,
    torchvision_names,
)
from ops.models.release import State


def known_backbones() -> tuple[str, ...]:
    """The names of all networks, torchvision's first; nothing is built or downloaded.

    timm's may be followed by a dot and the tag of one of several published weights.
    """
    from ops.models.networks.timm_networks import timm_names

    return torchvision_names() + tuple(f"{TIMM}{name}" for name in timm_names())


def check_backbone(name: str) -> None:
    """Raise a ConfigurationError that names similar backbones if this one is unknown."""
    if name in torchvision_names():
        return
    if name.startswith(TIMM):
        from ops.models.networks.timm_networks import is_timm_name

        if is_timm_name(name.removeprefix(TIMM)):
            return
    similar = get_close_matches(name.split(".")[0], known_backbones(), n=3)
    hint = f"Similar: {', '.join(similar)}. " if similar else ""
    raise ConfigurationError(
        f"Unknown backbone {name!r}. {hint}`lalafo backbones` lists the names: torchvision's, and "
        f"timm's after {TIMM!r}."
    )


def published(name: str) -> Published:
    """What the backbone's library publishes about it: weights and preprocessing.

    Raises:
        ConfigurationError: the backbone is unknown, or does not read square RGB photos.
    """
    check_backbone(name)
    if name.startswith(TIMM):
        from ops.models.networks.timm_networks import published_by_timm

        return published_by_timm(name.removeprefix(TIMM))
    return published_by_torchvision(name)


class Backbone(nn.Module):
    """A network without its head: (N, 3, H, W) float -> pooled features (N, D).

    `fixed_size`: it takes inputs of one size only.

    Raises:
        ConfigurationError: the backbone is unknown, or its library can't build it.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        check_backbone(name)
        self.name = name
        built = _build(name)
        self.network = built.module
        self.dimension: int = built.dimension
        self.dropped = built.dropped
        self.fixed_size = built.fixed_size

    def forward(self, images: Tensor) -> Tensor:
        """Compute the pooled features of normalised RGB."""
        return cast(Tensor, self.network(images)).flatten(1)

    def state(self) -> State:
        """The weights by the library's parameter names, copied to the CPU."""
        weights = self.network.state_dict()
        return {k: v.detach().cpu().numpy().copy() for k, v in weights.items()}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Load weights by the library's parameter names; those of a head are ignored.

        Raises:
            ConfigurationError: a weight is missing, unknown or of another shape.
        """
        weights = self.checked(state)
        # Copied: arrays read from a file's bytes are not writable, and torch warns about that.
        self.network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})

    def checked(self, state: Mapping[str, NDArray[Any]]) -> State:
        """The weights without a head's; raises as `load` does."""
        expected = self.network.state_dict()
        weights = {k: v for k, v in state.items() if not k.startswith(self.dropped)}
        for name in expected.keys() - weights.keys():
            if name.endswith(".num_batches_tracked"):  # old checkpoints lack it; nothing reads it
                weights[name] = np.zeros((), dtype=np.int64)
        missing = sorted(expected.keys() - weights.keys())
        unknown = sorted(weights.keys() - expected.keys())
        common = expected.keys() & weights.keys()
        wrong = [k for k in common if tuple(expected[k].shape) != weights[k].shape]
        if missing or unknown or wrong:
            raise ConfigurationError(
                f"These weights are not {self.name}'s: missing {missing[:3]}, unknown "
                f"{unknown[:3]}, of another shape {sorted(wrong)[:3]} "
                f"({len(missing)}, {len(unknown)}, {len(wrong)} in all). Use weights of this "
                "network."
            )
        return weights


class CheckedWeights(NamedTuple):
    """A backbone's weights by its library's names, without a head's, and D."""

    state: State
    dimension: int


def has_fixed_size(name: str) -> bool:
    """Whether a backbone takes inputs of one size only, as most transformers do."""
    with torch.device("meta"):
        return Backbone(name).fixed_size


def check_weights(name: str, state: Mapping[str, NDArray[Any]]) -> CheckedWeights:
    """Check that weights are a backbone's, without allocating the network.

    Raises:
        ConfigurationError: the backbone is unknown, or the weights are another network's, or not
            finite.
    """
    with torch.device("meta"):
        backbone = Backbone(name)
    checked = backbone.checked(state)
    for key, values in checked.items():
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise ConfigurationError(f"{key} of these weights of {name} is not finite.")
    return CheckedWeights(checked, backbone.dimension)


def _build(name: str) -> BuiltNetwork:
    if not name.startswith(TIMM):
        return build_torchvision(name)
    from ops.models.networks.timm_networks import build_timm

    return build_timm(name.removeprefix(TIMM))
