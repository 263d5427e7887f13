"""Runs a network of masks on a photo, on OpenVINO.

Owns that memory does not grow with the number of photos: one network has one shape, one request and
one thread, however large photos are. Does not depend on what becomes of the probabilities.
"""

from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.engines.openvino_engine import import_openvino
from ops.models.segments.head import MaskNetwork
from ops.models.task_head import TaskHead

Pixels = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

ROUNDING = 1e-3  # by which a probability may leave [0, 1]
LOADED = 4  # networks in a process: of the live release, of candidates, and of a re-score


class NotFiniteError(ValueError):
    """A network answered NaN or infinity for a photo: the type is the failure's reason."""


class NoProbabilityError(ValueError):
    """A network answered something else than probabilities for a photo."""


class LoadedNetwork:
    """A network in memory. Not thread-safe.

    Raises:
        ConfigurationError: OpenVINO can't read it, or its input or output is none of a mask's.
    """

    def __init__(self, network: MaskNetwork) -> None:
        self.network = network
        core: Any = import_openvino().Core()
        try:
            model = core.read_model(network.operations, network.constants)
        except RuntimeError as error:
            raise ConfigurationError(
                f"OpenVINO can't read the network {network.name}: {error}"
            ) from error
        _check_shapes(network, model)
        properties = {
            "INFERENCE_PRECISION_HINT": "f32",  # the same masks on every processor
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self._request = core.compile_model(model, "CPU", properties).create_infer_request()

    def probabilities(self, photo: Pixels) -> NDArray[np.float32]:
        """(C, S', S') float32 in [0, 1]: of goods where C is 1, else of each class.

        Raises:
            NotFiniteError: the network answered NaN or infinity.
            NoProbabilityError: the network's answer is outside [0, 1].
        """
        import cv2

        side = self.network.side
        squashed = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
        answer = self._request.infer([squashed[None]], share_inputs=True)[0][0]
        if not np.isfinite(answer).all():
            raise NotFiniteError(f"the network {self.network.name} answered NaN or infinity")
        low, high = float(answer.min()), float(answer.max())
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise NoProbabilityError(
                f"the network {self.network.name} answered {low:.3g} to {high:.3g}; "
                "expected probabilities"
            )
        return cast(NDArray[np.float32], answer.clip(0, 1))


def _check_shapes(network: MaskNetwork, model: Any) -> None:
    inputs, outputs = (
        [str(item.get_partial_shape()) for item in items] for items in (model.inputs, model.outputs)
    )
    side, known = network.side, len(network.labels)
    shape = model.outputs[0].get_partial_shape()
    sizes = list(shape.to_shape()) if len(outputs) == 1 and shape.is_static else []
    classes = {known + 1, 1} if known == 1 else {known + 1}
    good = len(sizes) == 4 and sizes[0] == 1 and sizes[1] in classes
    if inputs != [f"[1,{side},{side},3]"] or not good:
        raise ConfigurationError(
            f"The network {network.name} has the inputs {inputs} and the outputs {outputs}; "
            f"expected [1,{side},{side},3], and [1,C,H,W] with C of {sorted(classes)}."
        )


def loaded(head: TaskHead) -> LoadedNetwork:
    """The network of a release's head, once in a process.

    Raises:
        ConfigurationError: the head has no network that can be used.
    """
    return _loaded(_SameHead(head))


class _SameHead:
    """A head as a key: equal to those of the same network with the same settings."""

    def __init__(self, head: TaskHead) -> None:
        self.head = head
        self._settings = repr(sorted(head.config.items()))

    def __hash__(self) -> int:
        return hash(self._settings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameHead) and self._settings == other._settings


@lru_cache(maxsize=LOADED)
def _loaded(key: _SameHead) -> LoadedNetwork:
    return LoadedNetwork(MaskNetwork.of_head(key.head))
