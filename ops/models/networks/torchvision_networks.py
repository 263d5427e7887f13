"""Networks of torchvision, by its names.

Owns the list of supported families, and the removal of their heads. Importing this module imports
torch and torchvision.
"""

from functools import cache
from typing import Any, cast

import torchvision
from torch import nn

from ops.errors import ConfigurationError
from ops.models.networks.built import BuiltNetwork
from ops.models.networks.published import Published
from ops.models.preprocessing import Preprocessing

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
def torchvision_names() -> tuple[str, ...]:
    """The supported names, sorted; nothing is built or downloaded."""
    names = torchvision.models.list_models(module=torchvision.models)
    return tuple(name for name in names if _head_name(name) is not None)


def build_torchvision(name: str) -> BuiltNetwork:
    """Build a network with random weights; `name` is one of `torchvision_names`."""
    head_name = _head_name(name)
    assert head_name is not None, name
    network = torchvision.models.get_model(name, weights=None)
    head = network.get_submodule(head_name)
    linear = next(module for module in head.modules() if isinstance(module, nn.Linear))
    dropped = f"{head_name}."
    if name.startswith("convnext"):  # its head starts with the norm of the pooled features
        dropped = f"{head_name}.2."
        cast(nn.Sequential, head)[2] = nn.Identity()
    else:
        setattr(network, head_name, nn.Identity())
    return BuiltNetwork(network, linear.in_features, (dropped,))


def published_by_torchvision(name: str) -> Published:
    """What torchvision publishes under one of `torchvision_names`.

    Raises:
        ConfigurationError: its preprocessing is none that a release can have.
    """
    weights: Any = torchvision.models.get_model_weights(name).DEFAULT
    return Published(
        source=f"torchvision {weights}",
        preprocessing=_preprocessing(name, weights),
        url=str(weights.url),
    )


def _preprocessing(name: str, weights: Any) -> Preprocessing:
    preset = weights.transforms()
    try:
        (size,), (scaled,) = preset.crop_size, preset.resize_size
    except ValueError as error:
        raise ConfigurationError(
            f"{name}: its input is not square: {preset.crop_size}, {preset.resize_size}"
        ) from error
    return Preprocessing(
        size=size,
        resize="center",
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        crop_pct=size / scaled,
        interpolation=preset.interpolation.value,
    )


def _head_name(name: str) -> str | None:
    return next((head for family, head in _HEADS.items() if name.startswith(family)), None)
