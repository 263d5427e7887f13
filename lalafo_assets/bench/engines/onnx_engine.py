"""ONNX Runtime as an engine, for comparison in `lalafo bench engines` only."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.models.engines.engine import Image, Precision
from ops.models.release import FrozenBackbone


def export(frozen: FrozenBackbone, path: Path) -> None:
    """Write the backbone as ONNX, in float32 and for any batch size."""
    import torch

    from ops.models.engines.network import Network

    side = frozen.preprocessing.size
    example = torch.zeros((4, side, side, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its successor needs a minute
        torch.onnx.export(
            Network(frozen, torch.float32).eval(),
            (example,),
            path,
            dynamo=False,
            input_names=["pixels"],
            dynamic_axes={"pixels": {0: "photos"}},
        )


class OnnxRuntimeEngine:
    """A backbone that ONNX Runtime runs on the CPU, in float32; see `Engine`."""

    name = "onnxruntime"
    precision: Precision = "fp32"
    batch_sizes = (1, 2, 4, 8)  # in measurements a batch of 32 was slower per photo
    call_cost = 0.25

    def __init__(self, path: Path, *, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._side: int = self._session.get_inputs()[0].shape[1]
        self.dimension = self.run([self._zeros()], 1).shape[1]

    def run(self, images: Sequence[Image], size: int) -> NDArray[np.float32]:
        """(N, D) float32 features; the batch is as large as there are images."""
        features: NDArray[np.float32] = self._session.run(None, {"pixels": np.stack(images)})[0]
        return features

    def warm_up(self) -> None:
        """Run every batch size."""
        for size in self.batch_sizes:
            self.run([self._zeros()] * size, size)

    def _zeros(self) -> Image:
        return np.zeros((self._side, self._side, 3), np.uint8)
