"""The network of the task `segments`: a small U-shape on EfficientNet-Lite0's feature pyramid.

Owns its layers and its names of parameters. `train.py` trains it, and `shipped.py` writes it as the
file that releases have. Importing this module imports torch and timm.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ops.models.preprocessing import Preprocessing
from ops.models.release import State

ENCODER = "tf_efficientnet_lite0"  # timm's name
STAGES = 6  # of the encoder's seven: the last one has a fifth of the weights, at the same stride
CHANNELS = (16, 24, 40, 112, 192)  # of the features at strides 2, 4, 8, 16 and 32
WIDTHS = (24, 32, 64, 96, 128)  # of the decoder, at the same strides
_TAKEN = (0, 1, 2, 4, 5)  # the stages whose outputs these are


class Encoder(nn.Module):
    """EfficientNet-Lite0 up to its sixth stage: (N, 3, S, S) -> features at five strides."""

    def __init__(self) -> None:
        super().__init__()
        whole = timm.create_model(ENCODER, pretrained=False)
        self.conv_stem, self.bn1 = whole.conv_stem, whole.bn1
        self.blocks = whole.blocks[:STAGES]

    def load(self, state: State) -> None:
        """Load the backbone's weights by timm's names; those that it lacks are ignored."""
        own = self.state_dict()
        self.load_state_dict({name: torch.from_numpy(state[name].copy()) for name in own})

    def forward(self, images: Tensor) -> list[Tensor]:
        """The features, from the finest to the coarsest."""
        found = []
        x = self.bn1(self.conv_stem(images))
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in _TAKEN:
                found.append(x)
        return found


class Mixing(nn.Sequential):
    """A depthwise 3 x 3 convolution, then one of 1 x 1."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(),
        )


class Decoder(nn.Module):
    """From the coarsest features to the finest: each level adds its features to the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, w, 1, bias=False), nn.BatchNorm2d(w))
            for c, w in zip(CHANNELS, WIDTHS, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, a, 1, bias=False), nn.BatchNorm2d(a))
            for a, b in pairwise(WIDTHS)
        )
        self.mix = nn.ModuleList(nn.Sequential(Mixing(w, w), Mixing(w, w)) for w in WIDTHS)
        self.whole = nn.Conv2d(CHANNELS[-1], WIDTHS[-1], 1)  # of the photo as a whole
        self.out = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(N, 1, S/2, S/2) logits."""
        coarsest = features[-1]
        x = self.lateral[-1](coarsest) + self.whole(coarsest.mean((2, 3), keepdim=True))
        x = self.mix[-1](F.relu6(x))
        for level in range(len(features) - 2, -1, -1):
            side = features[level].shape[-1]
            up = F.interpolate(self.down[level](x), (side, side), mode="bilinear")
            x = self.mix[level](F.relu6(self.lateral[level](features[level]) + up))
        return cast(Tensor, self.out(x))


class Segmenter(nn.Module):
    """(N, S, S, 3) uint8 RGB, squashed photos -> (N, 1, S, S) float32, how likely each
    pixel is goods.

    S is a multiple of 32.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1), persistent=False)

    def normalised(self, pixels: Tensor) -> Tensor:
        """(N, 3, S, S) float32, as the encoder expects it."""
        nchw = pixels.permute(0, 3, 1, 2).float()
        return torch.addcmul(cast(Tensor, self.shift), nchw, cast(Tensor, self.scale))

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the probability of every pixel."""
        logits = self.decoder(self.encoder(self.normalised(pixels)))
        side = pixels.shape[1]
        whole = F.interpolate(logits, (side, side), mode="bilinear")
        return torch.sigmoid(whole)

    def state(self) -> State:
        """The weights by name, copied to the CPU."""
        return {k: v.detach().cpu().numpy().copy() for k, v in self.state_dict().items()}

    def load(self, state: Mapping[str, object]) -> None:
        """Load what `state` returned, of any float dtype."""
        self.load_state_dict({k: torch.as_tensor(v) for k, v in state.items()})
