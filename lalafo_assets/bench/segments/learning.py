"""Trains the network of `segments`, in steps that can be interrupted and continued.

Owns the loss, the schedule and the checkpoint. The encoder stays as it was published: its features
are computed without gradients. Importing this module imports torch.
"""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lalafo_assets.bench.segments.network import Segmenter
from lalafo_assets.bench.segments.samples import Samples

KEEP = 0.995  # of the averaged weights, at each step
WARM_UP = 0.03  # of the steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One part of the training. `peak_rate`: of AdamW; it falls to a hundredth by a cosine."""

    steps: int
    peak_rate: float = 3e-3
    decay: float = 1e-4


def learn(
    network: Segmenter,
    samples: Samples,
    course: Course,
    checkpoint: Path,
    *,
    until: Callable[[], bool],
    on_progress: Callable[[int, float], object],
) -> bool:
    """Train a network's decoder until the course or the time ends; True: the course has ended.

    What an earlier call left in `checkpoint` is continued. At the end the network has the averaged
    weights.

    Args:
        until: whether to stop and leave the rest for another call.
        on_progress: called with the step and the mean loss, every 50 steps.
    """
    averaged = deepcopy(network.decoder)
    optimizer = torch.optim.AdamW(
        network.decoder.parameters(), lr=course.peak_rate, weight_decay=course.decay
    )
    first = _restore(checkpoint, network, averaged, optimizer)
    network.encoder.eval()
    network.decoder.train()
    lost = 0.0
    for step in range(first, course.steps):
        if until():
            _save(checkpoint, step, network, averaged, optimizer)
            return False
        for group in optimizer.param_groups:
            group["lr"] = rate(step, course)
        loss = _step(network, samples, step, optimizer)
        keep = min(KEEP, (step + 1) / (step + 10))
        for kept, new in zip(
            averaged.state_dict().values(), network.decoder.state_dict().values(), strict=True
        ):
            kept.lerp_(new, 1 - keep) if kept.dtype.is_floating_point else kept.copy_(new)
        lost += loss
        if (step + 1) % 50 == 0:
            on_progress(step + 1, lost / 50)
            lost = 0.0
    network.decoder.load_state_dict(averaged.state_dict())
    network.eval()
    return True


def rate(step: int, course: Course) -> float:
    """The learning rate of a step."""
    warm = max(1, round(WARM_UP * course.steps))
    if step < warm:
        return course.peak_rate * (step + 1) / warm
    part = (step - warm) / max(1, course.steps - warm)
    return course.peak_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part)))


def loss_of(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy plus 1 minus the soft intersection over union, each a mean of photos.

    Args:
        logits: (N, S, S).
        masks: (N, S, S) in 0 to 1.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, masks)
    found = torch.sigmoid(logits)
    both = (found * masks).sum((1, 2))
    either = (found + masks - found * masks).sum((1, 2))
    return entropy + (1 - (both + 1) / (either + 1)).mean()


def minutes(limit: float) -> Callable[[], bool]:
    """Whether so many minutes have passed since this call."""
    end = time.monotonic() + 60 * limit
    return lambda: time.monotonic() > end


def _step(
    network: Segmenter, samples: Samples, step: int, optimizer: torch.optim.Optimizer
) -> float:
    pixels, masks = samples.batch(step)
    images = network.normalised(torch.from_numpy(pixels)).contiguous(
        memory_format=torch.channels_last
    )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = [item.float() for item in network.encoder(images)]
    truth = torch.from_numpy(masks)
    logits = network.decoder(features)
    side = truth.shape[-1]
    loss = loss_of(F.interpolate(logits, (side, side), mode="bilinear")[:, 0], truth)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    torch.nn.utils.clip_grad_norm_(network.decoder.parameters(), 2.0)
    optimizer.step()
    return float(loss.detach())


def _save(
    path: Path,
    step: int,
    network: Segmenter,
    averaged: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "step": step,
            "decoder": network.decoder.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        path,
    )


def _restore(
    path: Path, network: Segmenter, averaged: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    if not path.exists():
        return 0
    found = torch.load(path, weights_only=True)
    network.decoder.load_state_dict(found["decoder"])
    averaged.load_state_dict(found["averaged"])
    optimizer.load_state_dict(found["optimizer"])
    return cast(int, found["step"])
