"""Small networks of masks, made as ONNX files: what is brighter than grey is goods."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ops.models.segments.conversion import from_onnx
from ops.models.segments.head import MaskNetwork

SIDE = 64


def onnx_file(
    *,
    side: int | str = SIDE,
    outputs: Sequence[str] = ("mask",),
    last: str = "Sigmoid",
    rank: int = 4,
    channels: int = 3,
    gain: float = 60.0,
) -> bytes:
    """A network that answers how bright each pixel is, as the last operation has it.

    Args:
        last: "Sigmoid", "Identity" (logits), or "Sqrt", which is NaN for dark pixels.
    """
    factor = numpy_helper.from_array(np.float32(gain), "factor")
    nodes = [
        helper.make_node("ReduceMean", ["photo"], ["mean"], axes=[1], keepdims=int(rank == 4)),
        helper.make_node("Mul", ["mean", "factor"], ["scaled"]),
        *(helper.make_node(last, ["scaled"], [name]) for name in outputs),
    ]
    shape = [1, 1, side, side] if rank == 4 else [1, side, side]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, channels, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [factor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def bright_network(side: int = SIDE) -> MaskNetwork:
    """What is brighter than grey is goods."""
    half = (0.5, 0.5, 0.5)
    return from_onnx(onnx_file(side=side), name="brightness", mean=half, std=half)


def broken_network() -> MaskNetwork:
    """It answers NaN for dark photos, and probabilities for others."""
    half = (0.5, 0.5, 0.5)
    return from_onnx(onnx_file(last="Sqrt", gain=1.0), name="broken", mean=half, std=half)
