"""Networks of timm (pytorch-image-models), by its names, and its conversion of published weights.

Names here are timm's own, `architecture` or `architecture.tag`; the tag names one of several
published sets of weights. Importing this module imports timm.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import timm
from torch import Tensor, nn

from ops.errors import ConfigurationError
from ops.models.networks.built import BuiltNetwork
from ops.models.networks.published import Published
from ops.models.preprocessing import Preprocessing


@cache
def timm_names() -> tuple[str, ...]:
    """All architectures, sorted, without tags; nothing is built or downloaded."""
    return tuple(timm.list_models())


def is_timm_name(name: str) -> bool:
    """Whether timm knows the architecture, and the tag if there is one."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        return False
    try:
        return tag == "" or timm.get_pretrained_cfg(name, allow_unregistered=False) is not None
    except RuntimeError:  # "Invalid pretrained tag"
        return False


def build_timm(name: str) -> BuiltNetwork:
    """Build a network with random weights and without its classifier.

    Raises:
        ConfigurationError: it is not a network of square RGB photos.
    """
    module = _created(name, num_classes=0)
    config: Any = module.pretrained_cfg
    classifiers = config.get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else classifiers
    dimension: Any = getattr(module, "head_hidden_size", None) or module.num_features
    return BuiltNetwork(
        module=module,
        dimension=int(dimension),
        dropped=tuple(f"{classifier}." for classifier in classifiers),
        fixed_size=bool(config.get("fixed_input_size")),
    )


def published_by_timm(name: str) -> Published:
    """What timm publishes under a name; without a tag, of its default weights.

    Raises:
        ConfigurationError: its preprocessing is none that a release can have.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise ConfigurationError(f"timm says nothing about the input of {name}.")
    hub = None
    if config.hf_hub_id:
        hub = (str(config.hf_hub_id), str(config.hf_hub_filename or "model.safetensors"))
    return Published(
        source=f"timm {name if '.' in name or not config.tag else f'{name}.{config.tag}'}",
        preprocessing=_preprocessing(name, config.to_dict()),
        url=str(config.url or ""),
        hub=hub,
        licence=str(config.license or ""),
    )


def load_published(name: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert published weights to the names and shapes of timm's network, head included.

    timm's own conversion runs: some checkpoints have the names of another implementation.

    Raises:
        ConfigurationError: they are another network's.
    """
    try:
        module = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(weights)}
        )
    except (RuntimeError, KeyError, ValueError) as error:
        raise ConfigurationError(
            f"These weights are not timm:{name}'s: {str(error).splitlines()[0]}"
        ) from error
    state: dict[str, Tensor] = module.state_dict()
    return state


def _created(name: str, **arguments: Any) -> nn.Module:
    try:
        module: nn.Module = timm.create_model(name, pretrained=False, exportable=True, **arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"timm can't build {name}: {error}") from error
    return module


def _preprocessing(name: str, config: Mapping[str, Any]) -> Preprocessing:
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise ConfigurationError(
            f"timm:{name} reads {channels} x {height} x {width}; expected square RGB"
        )
    return Preprocessing(
        size=int(height),
        resize=str(config.get("crop_mode") or "center"),
        mean=_three_floats(config["mean"]),
        std=_three_floats(config["std"]),
        crop_pct=float(config.get("crop_pct") or 0.875),
        interpolation=str(config["interpolation"]),
    )


def _three_floats(values: Any) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
