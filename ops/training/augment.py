"""Light augmentation of a training batch, on the batch's device.

Owns the ranges of the geometric and photometric changes. Importing this module imports torch.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Augment each photo independently: (B, 3, H, W) float32 in [0, 1] -> the same.

    Mirrors, rotates by up to 10 degrees, enlarges up to 1.4 times off centre, and changes
    brightness, contrast and colour balance. The changes depend only on `rng`.
    """
    count = len(images)
    turn = np.deg2rad(rng.uniform(-10, 10, count))
    span, mirror = rng.uniform(0.7, 1.0, (count, 2)), rng.choice([-1.0, 1.0], count)
    shift = (1 - span) * rng.uniform(-1, 1, (count, 2))
    matrix = np.empty((count, 2, 3), dtype=np.float32)
    matrix[:, 0] = np.stack([mirror * span[:, 0] * np.cos(turn), -np.sin(turn), shift[:, 0]], 1)
    matrix[:, 1] = np.stack([mirror * np.sin(turn), span[:, 1] * np.cos(turn), shift[:, 1]], 1)
    theta = torch.from_numpy(matrix).to(images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    light = rng.uniform(-0.12, 0.12, count) + 0.5
    gain = rng.uniform(0.8, 1.25, (count, 3))  # a colour cast with the contrast
    factors = torch.from_numpy(gain.astype(np.float32)).to(images.device).view(count, 3, 1, 1)
    level = torch.from_numpy(light.astype(np.float32)).to(images.device).view(count, 1, 1, 1)
    return ((moved - 0.5) * factors + level).clamp_(0, 1)
