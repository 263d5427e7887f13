"""Segmentation networks of PyTorch as networks of masks. Importing this module imports torch."""

from typing import cast

import torch
from torch import Tensor, nn


class Probabilities(nn.Module):
    """(N, S, S, 3) uint8 -> (N, C, S, S): the probability of each class, by torchvision's model.

    Args:
        network: (N, 3, S, S) normalised RGB -> {"out": (N, C, S, S) logits}.
    """

    def __init__(
        self,
        network: nn.Module,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.network = network
        scale, middle = torch.tensor(std), torch.tensor(mean)
        self.register_buffer("scale", (1 / (255 * scale)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-middle / scale).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the probabilities."""
        nchw = pixels.permute(0, 3, 1, 2).float()
        images = torch.addcmul(cast(Tensor, self.shift), nchw, cast(Tensor, self.scale))
        return torch.softmax(self.network(images)["out"], 1)
