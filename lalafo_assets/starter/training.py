"""Trains the starter's backbone from random weights on drawn pictures.

Owns the architecture of the training heads, the augmentation and the schedule. Does not depend on
how a release is stored. Importing this module imports torch.
"""

import copy
import math
import os
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import structlog
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lalafo_assets.starter.data import SCENES, Drawings, batches
from lalafo_assets.synthetic.drawing.materials import PATTERNS
from lalafo_assets.synthetic.photos import CATEGORIES
from ops.errors import ConfigurationError
from ops.models.backbones import Backbone
from ops.models.networks.names import STARTER_BACKBONE
from ops.models.release import BACKBONE_FILE, Preprocessing, State
from ops.models.release_files import decode_backbone, encode_backbone

START_FILE = "start.safetensors"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of training at one input size."""

    size: int  # side of the square input in pixels
    samples: int
    least_area: float = 0.5  # of a crop; small crops magnify, as a larger input does


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the starter is trained."""

    stages: tuple[Stage, ...]
    batch: int = 48  # of each process
    peak_rate: float = 2e-3
    weight_decay: float = 0.03
    smoothing: float = 0.1
    average: float = 0.998  # decay of the weights' moving average, per step
    warm_up: float = 0.04  # share of all steps
    seed: int = 1

    def steps(self, world: int) -> int:
        """Return the steps of each of `world` processes."""
        shares = (-(-stage.samples // world) for stage in self.stages)
        return sum(-(-share // self.batch) for share in shares)


class Learner(nn.Module):
    """The backbone, and heads for everything that is known about a drawing.

    Pattern, scene and colour are predicted too, so that the features stay useful for photos of
    goods that were never drawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone(STARTER_BACKBONE)
        wide = self.backbone.dimension
        self.drop = nn.Dropout(0.15)
        self.category = nn.Linear(wide, len(CATEGORIES))
        self.pattern = nn.Linear(wide, len(PATTERNS))
        self.scene = nn.Linear(wide, len(SCENES))
        self.colour = nn.Linear(wide, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, H, W) normalised -> logits of category, pattern, scene; colour in 0 to 1."""
        features = self.drop(self.backbone(images).float())
        return (
            self.category(features),
            self.pattern(features),
            self.scene(features),
            self.colour(features),
        )


class _Depthwise(nn.Conv2d):
    """A depthwise convolution that runs in float32 within bfloat16 autocast.

    oneDNN's bfloat16 backward pass took four times as long (torch 2.15, measured).
    """

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(input.dtype)


def train(
    drawings: Drawings,
    recipe: Recipe,
    preprocessing: Preprocessing,
    *,
    bf16: bool,
    start: State | None = None,
) -> Backbone:
    """Train a backbone and return its averaged weights, in evaluation mode, on the CPU.

    It starts from the weights of `start`, or from random ones given by the recipe's seed.

    In a torch.distributed group each process trains on its own share of the samples, and gradients
    are averaged. Every process returns weights; use those of rank 0. The same drawings, recipe and
    number of processes give the same weights up to rounding.
    """
    torch.manual_seed(recipe.seed)
    learner = _prepared(Learner())
    if start is not None:
        learner.backbone.load(start)
    averaged = copy.deepcopy(learner).eval()
    optimiser = torch.optim.AdamW(_groups(learner, recipe.weight_decay), lr=recipe.peak_rate)
    rank, world = _rank_and_world()
    torch.manual_seed(recipe.seed + rank)
    rng = np.random.default_rng([recipe.seed, rank])
    progress = _Progress(recipe.steps(world), quiet=rank > 0)
    for stage in recipe.stages:
        for images, rows in batches(
            drawings,
            samples=-(-stage.samples // world),
            size=stage.size,
            batch=recipe.batch,
            least_area=stage.least_area,
            rng=rng,
        ):
            for group in optimiser.param_groups:
                group["lr"] = _rate(progress.step, progress.steps, recipe)
            optimiser.zero_grad()
            inputs = _coloured(images, preprocessing)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                answers = learner(inputs)
            loss = _loss(answers, drawings, rows, recipe.smoothing)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            _share_gradients(learner, world)
            nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
            optimiser.step()
            progress.update(answers[0], drawings.categories[rows], stage.size)
            _update_average(
                averaged, learner, min(recipe.average, progress.step / (progress.step + 10))
            )
    if rank == 0:
        _settle_norms(averaged.backbone, drawings, recipe, preprocessing, bf16=bf16)
    return averaged.backbone.eval()


def train_apart(
    folder: Path, recipe: Recipe, preprocessing: Preprocessing, *, processes: int, bf16: bool
) -> State:
    """Train in processes of one torch thread each on the drawings in `folder`; return the weights.

    START_FILE in the folder has the initial weights, if there are any. Two such processes on two
    cores are faster than one with two threads, and far faster on a busy machine, since they wait
    for each other once per step and not once per operation.

    Raises:
        ConfigurationError: a process failed.
    """
    context = get_context("spawn")
    workers = [
        context.Process(target=_train_one, args=(folder, recipe, preprocessing, i, processes, bf16))
        for i in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode != 0 for worker in workers):
        raise ConfigurationError(
            f"Training failed: exit codes {[worker.exitcode for worker in workers]}; the reason is "
            "printed above."
        )
    return decode_backbone((folder / BACKBONE_FILE).read_bytes())


def _train_one(
    folder: Path, recipe: Recipe, preprocessing: Preprocessing, rank: int, world: int, bf16: bool
) -> None:
    """Train as one process of the group; rank 0 writes the weights."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # the group is on this machine alone
    rendezvous = f"file://{folder.absolute() / f'rendezvous-{os.getppid()}'}"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world)
    start = folder / START_FILE
    state = decode_backbone(start.read_bytes()) if start.exists() else None
    backbone = train(Drawings.load(folder), recipe, preprocessing, bf16=bf16, start=state)
    if rank == 0:
        (folder / BACKBONE_FILE).write_bytes(encode_backbone(backbone.state()))
    dist.barrier()
    dist.destroy_process_group()


def _rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of processes in the group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _share_gradients(learner: nn.Module, world: int) -> None:
    """Average the gradients over the group, in one all-reduce."""
    if world == 1:
        return
    gradients = [p.grad for p in learner.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


class _Progress:
    """Counts steps and correct answers, and logs them every hundred steps."""

    def __init__(self, steps: int, *, quiet: bool) -> None:
        self.step, self.steps = 0, steps
        self._right, self._seen, self._quiet = 0, 0, quiet
        self._started = time.monotonic()

    def update(self, logits: Tensor, truth: NDArray[np.int64], size: int) -> None:
        self.step += 1
        self._right += int((logits.argmax(1) == torch.from_numpy(np.asarray(truth))).sum())
        self._seen += len(truth)
        if self.step % 100 != 0 and self.step != self.steps:
            return
        if not self._quiet:
            _log.info(
                "training_progress",
                step=f"{self.step}/{self.steps}",
                size=size,
                accuracy=round(self._right / self._seen, 3),
                minutes=round((time.monotonic() - self._started) / 60, 1),
            )
        self._right, self._seen = 0, 0


@torch.no_grad()
def _settle_norms(
    backbone: Backbone,
    drawings: Drawings,
    recipe: Recipe,
    preprocessing: Preprocessing,
    *,
    bf16: bool,
    pictures: int = 1_600,
) -> None:
    """Recompute the statistics of BatchNorm from whole pictures at the last input size.

    The statistics of the training are from crops, and from weights that have changed since.
    """
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    backbone.train()
    size = recipe.stages[-1].size
    for start in range(0, min(pictures, len(drawings)), recipe.batch):
        pixels = np.array(drawings.images[start : start + recipe.batch])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
        if batch.shape[-1] != size:
            batch = F.interpolate(batch, (size, size), mode="bilinear", antialias=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            backbone(_normalised(batch / 255.0, preprocessing))
    backbone.eval()


def _prepared(learner: Learner) -> Learner:
    for module in learner.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.__class__ = _Depthwise
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = (
                0.1  # torchvision's 0.01 for MobileNet is too slow for a short training
            )
    return learner.to(memory_format=torch.channels_last).train()


def _groups(learner: nn.Module, decay: float) -> list[dict[str, object]]:
    """Return the optimiser's parameter groups: no weight decay for biases and norms."""
    weights = [p for p in learner.parameters() if p.ndim > 1]
    others = [p for p in learner.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _rate(step: int, steps: int, recipe: Recipe) -> float:
    """Return the learning rate: linear warm-up, then a cosine down to a hundredth of the peak."""
    warm = max(1, round(recipe.warm_up * steps))
    if step < warm:
        return recipe.peak_rate * (step + 1) / warm
    part = (step - warm) / max(1, steps - warm)
    return recipe.peak_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part)))


def _loss(
    answers: tuple[Tensor, Tensor, Tensor, Tensor],
    drawings: Drawings,
    rows: NDArray[np.int64],
    smoothing: float,
) -> Tensor:
    category, pattern, scene, colour = answers
    known = {
        name: torch.from_numpy(np.asarray(getattr(drawings, name)[rows]))
        for name in ("categories", "patterns", "scenes", "colours")
    }
    return (
        F.cross_entropy(category, known["categories"], label_smoothing=smoothing)
        + 0.25 * F.cross_entropy(pattern, known["patterns"])
        + 0.1 * F.cross_entropy(scene, known["scenes"])
        + 2.0 * F.smooth_l1_loss(colour, known["colours"], beta=0.1)
    )


def _coloured(images: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    """Apply colour augmentation: (B, H, W, 3) uint8 -> normalised (B, 3, H, W) float32."""
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
    count = len(batch)

    def each(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.empty(count, channels, 1, 1).uniform_(low, high)

    grey = batch.mean(1, keepdim=True)
    colour = each(0.5, 1.4)
    colour[torch.rand(count) < 0.08] = 0.0
    batch = grey + (batch - grey) * colour
    middle = batch.mean((1, 2, 3), keepdim=True)
    batch = (middle + (batch - middle) * each(0.6, 1.4)) * each(0.7, 1.3) * each(0.92, 1.08, 3)
    batch = (batch + torch.randn_like(batch) * each(0.0, 0.05)).clamp_(0, 1)
    return _normalised(batch, preprocessing)


def _normalised(batch: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Normalise RGB in 0 to 1 to the model's input, channels last in memory."""
    mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, 3, 1, 1)
    return ((batch - mean) / std).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _update_average(averaged: nn.Module, learner: nn.Module, keep: float) -> None:
    """Move the averaged weights and statistics towards the learner's by 1 - `keep`."""
    for average, new in zip(
        averaged.state_dict().values(), learner.state_dict().values(), strict=True
    ):
        if average.dtype.is_floating_point:
            average.lerp_(new, 1 - keep)
        else:
            average.copy_(new)
