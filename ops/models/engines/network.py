"""A backbone as the network that engines run: pixels in, features out.

Owns the normalisation on the device, the folding of norms into convolutions, and the lock between
torch.fx and running models. Importing this module imports torch and torchvision.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from ops.models.backbones import Backbone
from ops.models.release import FrozenBackbone

# torch.fx (2.15) traces by patching Module.__call__ for the whole process. A model that another
# thread runs at that time fails in the tracer: a session does so while it loads the next release.
_MAX_RUNS = 64
running = threading.BoundedSemaphore(_MAX_RUNS)
"""Every call of a torch model takes one permit."""
_tracing = threading.Lock()


class Network(nn.Module):
    """(N, H, W, 3) uint8 -> (N, D): normalisation on the device, then the backbone, in `dtype`.

    Raises:
        ConfigurationError: the weights are not the backbone's.
    """

    def __init__(self, frozen: FrozenBackbone, dtype: torch.dtype) -> None:
        super().__init__()
        backbone = Backbone(frozen.name)
        backbone.load(frozen.state)
        self.dimension = backbone.dimension
        # Norms are folded into the convolutions in float32, before the cast: on trained weights
        # this raises the lowest cosine to float32 from 0.9934 (folded by TorchScript, in bf16) to
        # 0.9992, and eager and traced give the same rows.
        with _no_model_running():
            folded = fuse(backbone.eval())
        self.backbone = folded.to(dtype).to(memory_format=torch.channels_last)
        prep = frozen.preprocessing
        std, mean = torch.tensor(prep.std), torch.tensor(prep.mean)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1).to(dtype))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1).to(dtype))
        self.dtype = dtype

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the pooled features of a batch of pixels."""
        nchw = pixels.permute(0, 3, 1, 2).to(self.dtype)  # keeps channels last in memory
        images = torch.addcmul(cast(Tensor, self.shift), nchw, cast(Tensor, self.scale))
        return cast(Tensor, self.backbone(images))


@contextmanager
def _no_model_running() -> Iterator[None]:
    """Wait for the running batches; new ones wait until the end of the block."""
    with _tracing, ExitStack() as permits:
        for _ in range(_MAX_RUNS):
            permits.enter_context(running)
        yield
