"""Backbones by torchvision name: the network without its classification head, and its weights.

Owns the list of supported networks, and the removal of their heads. Does not depend on where
weights come from (resources/training/weights.py). Importing this module imports torch, so only
runs import it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from ops.errors import ConfigurationError
from ops.models.release import State

DEFAULT_BACKBONE = "mobilenet_v3_small"
_HEADS = {  # by family: the attribute that is the classification head
    "convnext": "classifier",
    "efficientnet": "classifier",
    "mnasnet": "classifier",
    "mobilenet": "classifier",
    "regnet": "fc",
    "resnet": "fc",
    "resnext": "fc",
    "shufflenet": "fc",
    "swin": "head",
    "wide_resnet": "fc",
}


@cache
def known_backbones() -> tuple[str, ...]:
    """The supported torchvision names, sorted; nothing is built or downloaded."""
    names = torchvision.models.list_models(module=torchvision.models)
    return tuple(name for name in names if _head_name(name) is not None)


class Backbone(nn.Module):
    """A torchvision network without its head: (N, 3, H, W) float -> pooled features (N, D)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        head_name = _head_name(name)
        if name not in known_backbones() or head_name is None:
            raise ConfigurationError(
                f"Unknown backbone {name!r}. Known: {', '.join(known_backbones())}."
            )
        self.name = name
        self.network = torchvision.models.get_model(name, weights=None)
        head = self.network.get_submodule(head_name)
        linear = next(module for module in head.modules() if isinstance(module, nn.Linear))
        self.dimension: int = linear.in_features
        if name.startswith("convnext"):  # its head starts with the norm of the pooled features
            self.dropped = f"{head_name}.2."
            cast(nn.Sequential, head)[2] = nn.Identity()
        else:
            self.dropped = f"{head_name}."
            setattr(self.network, head_name, nn.Identity())

    def forward(self, images: Tensor) -> Tensor:
        """Compute the pooled features of normalised RGB."""
        return cast(Tensor, self.network(images)).flatten(1)

    def state(self) -> State:
        """The weights by torchvision's parameter names, copied to the CPU."""
        weights = self.network.state_dict()
        return {k: v.detach().cpu().numpy().copy() for k, v in weights.items()}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Load weights by torchvision's parameter names; those of a head are ignored.

        Raises:
            ConfigurationError: a weight is missing, unknown or of another shape.
        """
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
        # Copied: arrays read from a file's bytes are not writable, and torch warns about that.
        self.network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})


def _head_name(name: str) -> str | None:
    return next((head for family, head in _HEADS.items() if name.startswith(family)), None)
