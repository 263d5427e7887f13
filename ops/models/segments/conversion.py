"""Makes a network of masks from ONNX files and from torchvision's segmentation models.

Owns that the photo's normalisation and the last operation are part of what is stored, so that every
network of a release reads pixels and answers probabilities.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.engines.openvino_engine import convert_module, folded_files, import_openvino
from ops.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from ops.models.segments.head import GOODS, MaskNetwork
from ops.models.segments.network import LoadedNetwork

TORCHVISION = "torchvision:"
TORCHVISION_SIDE = 256


class Answers(StrEnum):
    """What an ONNX network's output is."""

    PROBABILITY = "probability"
    LOGIT = "logit"


def from_onnx(
    data: bytes,
    *,
    name: str,
    answers: Answers = Answers.PROBABILITY,
    output: str | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> MaskNetwork:
    """A saliency network: one input, (1, 3, S, S) float of normalised RGB, and one output,
    (1, 1, S', S') or (1, S', S').

    Args:
        output: its name, where the network has several.
        mean: of RGB in [0, 1], as the network was trained.

    Raises:
        ConfigurationError: it can't be read, or its input or output is another one.
    """
    openvino = import_openvino()
    from openvino.preprocess import PrePostProcessor

    try:
        model = openvino.Core().read_model(data)
    except RuntimeError as error:
        raise ConfigurationError(
            f"{name} is no ONNX network that OpenVINO can read: {error}"
        ) from error
    if len(model.inputs) != 1:
        names = [it.get_any_name() for it in model.inputs]
        raise ConfigurationError(f"{name} has the inputs {names}; expected one")
    side = _side(model.input().get_partial_shape(), name)
    model.reshape([1, 3, side, side])
    chosen = _last(openvino, _output(model, output, name), answers)
    model = openvino.Model([chosen], model.get_parameters(), "masks")
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(
        [255 * value for value in mean]
    ).scale([255 * value for value in std])
    return _checked(MaskNetwork(name, *folded_files(steps.build()), side))


def from_torchvision(
    name: str,
    state: Mapping[str, NDArray[Any]],
    *,
    labels: tuple[str, ...],
    side: int = TORCHVISION_SIDE,
) -> MaskNetwork:
    """One of torchvision's semantic segmentation models, with its weights by name.

    Args:
        name: such as "torchvision:lraspp_mobilenet_v3_large".
        labels: of the classes from the second on; the first is the background.

    Raises:
        ConfigurationError: torchvision has no such model, or the weights are another one's.
    """
    import torch
    from torchvision.models import get_model, list_models, segmentation

    from ops.models.segments.torch_networks import Probabilities

    known = list_models(module=segmentation)
    wanted = name.removeprefix(TORCHVISION)
    if not name.startswith(TORCHVISION) or wanted not in known:
        raise ConfigurationError(
            f"Unknown network {name!r}. Known: {', '.join(TORCHVISION + it for it in known)}, and "
            "files that end with .onnx."
        )
    network = get_model(wanted, weights=None, weights_backbone=None, num_classes=len(labels) + 1)
    own = network.state_dict()
    tensors = {key: torch.from_numpy(np.array(state[key])) for key in own.keys() & state.keys()}
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ConfigurationError(f"These weights are not those of {name}: {error}") from error
    module = Probabilities(network, IMAGENET_MEAN, IMAGENET_STD).eval()
    files = convert_module(module, side, batch=1, half=True)
    return _checked(MaskNetwork(name, *files, side, labels=labels or (GOODS,)))


def _checked(network: MaskNetwork) -> MaskNetwork:
    """The network, which has answered a grey photo."""
    grey = np.full((network.side, network.side, 3), 128, np.uint8)
    try:
        LoadedNetwork(network).probabilities(grey)
    except ValueError as error:
        raise ConfigurationError(f"{error}. A logit needs --answers logit.") from error
    return network


def _side(shape: Any, name: str) -> int:
    sizes = [axis.get_length() if axis.is_static else None for axis in shape]
    if len(sizes) != 4 or sizes[1] != 3 or sizes[2] is None or sizes[2] != sizes[3]:
        raise ConfigurationError(
            f"{name} reads {shape}; expected (1, 3, S, S) of a fixed size S: one network, one shape"
        )
    return int(sizes[2])


def _output(model: Any, output: str | None, name: str) -> Any:
    names = [it.get_any_name() for it in model.outputs]
    if (output is None and len(names) > 1) or (output is not None and output not in names):
        raise ConfigurationError(f"{name} has the outputs {', '.join(names)}: name one of them")
    return model.outputs[0 if output is None else names.index(output)]


def _last(openvino: Any, output: Any, answers: Answers) -> Any:
    """The output as (1, 1, S', S') probabilities."""
    from openvino import opset13 as ops

    found = output.get_node().input_value(0)
    rank = output.get_partial_shape().rank.get_length()
    if rank == 3:
        found = ops.unsqueeze(found, ops.constant(np.int64(1))).output(0)
    elif rank != 4:
        raise ConfigurationError(f"the output has {rank} axes; expected (1, 1, S, S) or (1, S, S)")
    if answers is Answers.LOGIT:
        found = ops.sigmoid(found).output(0)
    return ops.result(found)
