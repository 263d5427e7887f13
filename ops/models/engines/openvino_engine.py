"""OpenVINO as the engine, on CPUs; and the conversion of a backbone into its format.

The format (an XML of operations and a file of constants) has no code, unlike a TorchScript archive.
OpenVINO is imported by `import_openvino` alone, because importing it reports that to its maker.
Importing this module imports neither torch nor OpenVINO; converting imports both, loading only
OpenVINO.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.engines.engine import EngineName, Image, Precision
from ops.models.release import FrozenBackbone

if TYPE_CHECKING:
    from torch import nn

BATCH_SIZES = (1, 4, 16)
"""A larger batch is not faster per photo on a CPU, and each size costs 0.1 s and 20 MB or more. But
each call returns to the interpreter, for which a session's other threads wait: with calls of 16 two
saturated sessions process a fifth more photos than with calls of 4."""


@dataclass(frozen=True, slots=True, eq=False)
class ConvertedBackbone:
    """A backbone in OpenVINO's format: the operations as XML, and their float32 constants."""

    xml: bytes
    constants: bytes


class OpenVinoEngine:
    """A backbone that OpenVINO runs on the CPU; see `Engine`.

    Args:
        threads: threads of one call; 0: one for each core.

    Raises:
        ConfigurationError: OpenVINO can't read the converted backbone.
    """

    name: EngineName = "openvino"

    def __init__(
        self,
        converted: ConvertedBackbone,
        *,
        threads: int,
        precision: Precision,
        batch_sizes: tuple[int, ...] = BATCH_SIZES,
    ) -> None:
        core: Any = import_openvino().Core()
        try:
            model = core.read_model(converted.xml, converted.constants)
        except RuntimeError as error:
            raise ConfigurationError(
                f"OpenVINO can't read the converted backbone: {error}"
            ) from error
        side = model.input().get_partial_shape()[1].get_length()
        properties = {
            "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned threads of two sessions would share one core while another is idle.
            "ENABLE_CPU_PINNING": False,
        }
        self.precision: Precision = precision
        self.batch_sizes = batch_sizes
        self.call_cost = 0.25  # measured
        self._requests: dict[int, Any] = {}
        for size in batch_sizes:  # static shapes: 15 % faster than a dynamic one
            model.reshape([size, side, side, 3])
            compiled = core.compile_model(model, "CPU", properties)
            self._requests[size] = compiled.create_infer_request()
            self.dimension = int(compiled.output(0).shape[1])
        self._batch = np.zeros((batch_sizes[-1], side, side, 3), np.uint8)

    def run(self, images: Sequence[Image], size: int) -> NDArray[np.float32]:
        """(N, D) float32 features; the rest of the batch has pixels of earlier calls."""
        batch = self._batch[:size]
        np.stack(images, out=batch[: len(images)])
        features: NDArray[np.float32] = self._requests[size].infer([batch], share_inputs=True)[0]
        return features[: len(images)]

    def warm_up(self) -> None:
        """Run every batch size: the first call allocates."""
        for size in self.batch_sizes:
            self.run(list(self._batch[:size].copy()), size)


def import_openvino() -> Any:
    """Import OpenVINO without `openvino_telemetry`.

    With it, importing OpenVINO sends an event to Google Analytics, from a thread of its own, and
    keeps an identifier below the home directory, unless the user has opted out. Where that package
    is missing, OpenVINO uses a stub that does nothing.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # as if not installed
    import openvino

    return openvino


def convert(frozen: FrozenBackbone) -> ConvertedBackbone:
    """Convert a backbone; takes about a second, without the imports.

    Raises:
        ConfigurationError: the weights are not the backbone's.
    """
    import torch

    from ops.models.engines.network import Network

    network = Network(frozen, torch.float32).eval()
    return ConvertedBackbone(*convert_module(network, frozen.preprocessing.size))


def convert_module(
    network: "nn.Module", side: int, *, batch: int = -1, half: bool = False
) -> tuple[bytes, bytes]:
    """Convert a network of (N, side, side, 3) uint8 pixels: operations as XML, and constants.

    Args:
        batch: N; -1: any.
        half: whether the constants are stored as float16.
    """
    openvino = import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from ops.models.engines.torch_engine import traced

    module = traced(network, side, "cpu")
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(module, skip_freeze=True)  # the model reads from it
    model: Any = frontend.convert(frontend.load(decoder))
    model.input().get_node().set_element_type(openvino.Type.u8)
    model.reshape([batch, side, side, 3])
    return folded_files(model, half=half) if batch > 0 else as_files(model, half=half)


def folded_files(model: Any, *, half: bool = False) -> tuple[bytes, bytes]:
    """As `as_files`, of a model whose shapes are all known: what computes them becomes constants.

    The same model gives the same bytes. OpenVINO's own names have numbers that count all that the
    process has converted.
    """
    import_openvino()
    from openvino.passes import ConstantFolding, Manager

    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    model.set_friendly_name("folded")
    for number, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}_{number}")
        for output in operation.outputs():
            output.get_tensor().set_names(set())
    return as_files(model, half=half)


def as_files(model: Any, *, half: bool = False) -> tuple[bytes, bytes]:
    """A model of OpenVINO as its two files: the operations as XML, and the constants."""
    openvino = import_openvino()
    with TemporaryDirectory(prefix="lalafo-openvino-") as folder:
        xml, constants = Path(folder) / "model.xml", Path(folder) / "model.bin"
        openvino.save_model(model, xml, compress_to_fp16=half)
        return xml.read_bytes(), constants.read_bytes()
