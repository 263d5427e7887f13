"""A backbone as the network that engines run: pixels in, features out.

Owns the normalisation on the device. Importing this module imports torch and torchvision.
"""

from typing import cast

import torch
from torch import Tensor, nn

from ops.models.backbones import Backbone
from ops.models.engines.folding import folded
from ops.models.release import FrozenBackbone


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
        prep = frozen.preprocessing
        network = folded(backbone, prep.size)
        self.backbone = network.to(dtype).to(memory_format=torch.channels_last)
        std, mean = torch.tensor(prep.std), torch.tensor(prep.mean)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1).to(dtype))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1).to(dtype))
        self.dtype = dtype

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the pooled features of a batch of pixels."""
        nchw = pixels.permute(0, 3, 1, 2).to(self.dtype)  # keeps channels last in memory
        images = torch.addcmul(cast(Tensor, self.shift), nchw, cast(Tensor, self.scale))
        return cast(Tensor, self.backbone(images))
