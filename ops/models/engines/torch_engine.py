"""PyTorch as the engine: eager, traced (frozen TorchScript) or compiled (torch.compile).

Nothing of them is kept on disk: a TorchScript archive has pickled code, and torch.compile keeps a
cache of its own. Importing this module imports torch and torchvision.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ops.errors import ConfigurationError
from ops.models.engines.engine import EngineName, Image, Precision
from ops.models.engines.folding import running
from ops.models.engines.network import Network
from ops.models.processor import cpp_compiler
from ops.models.release import FrozenBackbone

TorchName = Literal["eager", "traced", "compiled"]

# Each size is one compiled program. In measurements a batch of 64 was slower per photo than one
# of 32: it exceeds the cache.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
COMPILED_BATCH_SIZES = (1, 4, 16, 32)  # each costs 6 to 12 s of start-up
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class TorchEngine:
    """A backbone that PyTorch runs; see `Engine`.

    Args:
        device: "cpu" or "cuda".

    Raises:
        ConfigurationError: the weights are not the backbone's, or "compiled" without a C++
            compiler.
    """

    def __init__(
        self, frozen: FrozenBackbone, *, name: TorchName, device: str, precision: Precision
    ) -> None:
        if name == "compiled" and cpp_compiler() is None:
            raise ConfigurationError(
                "Mode 'compiled' needs a C++ compiler (g++ or clang++, or CXX). Install one, or "
                "choose 'auto'."
            )
        network = Network(frozen, _DTYPES[precision]).to(device).eval()
        size = frozen.preprocessing.size
        self.name: EngineName = name
        self.precision: Precision = precision
        self.dimension = network.dimension
        sizes: tuple[int, ...] = COMPILED_BATCH_SIZES if name == "compiled" else BATCH_SIZES
        self.batch_sizes = sizes
        self.call_cost = 2.0  # measured
        self._device = device
        self._network = _built(network, name, size, device)
        shape = (self.batch_sizes[-1], size, size, 3)
        self._batch = torch.zeros(shape, dtype=torch.uint8, pin_memory=device == "cuda")

    @torch.inference_mode()
    def run(self, images: Sequence[Image], size: int) -> NDArray[np.float32]:
        """(N, D) float32 features on the CPU; the rest of the batch has pixels of earlier calls."""
        batch = self._batch[:size]
        np.stack(images, out=batch.numpy()[: len(images)])
        with running:
            features = self._network(batch.to(self._device, non_blocking=True))[: len(images)]
        return cast(NDArray[np.float32], features.float().cpu().numpy())

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run every batch size, so that no later call compiles; a minute if compiled."""
        runs = 3 if self.name == "traced" else 1  # the profiling executor specialises on the second
        with ExitStack() as stack:
            stack.enter_context(running)
            if self.name == "compiled":
                stack.enter_context(torch._dynamo.config.patch(recompile_limit=256))
            for size in self.batch_sizes:
                for _ in range(runs):
                    self._network(self._batch[:size].to(self._device))


def _built(network: Network, name: TorchName, size: int, device: str) -> Callable[[Tensor], Tensor]:
    if name == "eager":
        return network
    if name == "compiled":
        compiled = torch.compile(network, dynamic=False, options={"freezing": True})
        return cast(Callable[[Tensor], Tensor], compiled)
    return cast(Callable[[Tensor], Tensor], traced(network, size, device))


def traced(network: nn.Module, size: int, device: str) -> torch.jit.ScriptModule:
    """The network as frozen TorchScript.

    Args:
        size: pixels of the square input.
    """
    example = torch.zeros((4, size, size, 3), dtype=torch.uint8, device=device)
    with torch.inference_mode(), warnings.catch_warnings():
        # TorchScript is deprecated since torch 2.10. OpenVINO converts from it, and torch.export
        # takes ten times as long.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.trace(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            network, example, check_trace=False
        )
        return cast(torch.jit.ScriptModule, torch.jit.freeze(module))
