"""Trains a backbone: from given weights on a user's photos, or from scratch for the starter.

Owns the augmentation, the optimiser and the schedule. Does not depend on where photos come from (a
loader is passed in) or what the weights are used for. Importing this module imports torch.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ops.errors import ConfigurationError
from ops.models.backbones import Backbone, has_fixed_size
from ops.models.processor import supports_bf16
from ops.models.release import Preprocessing, State
from ops.training.augment import augment

PhotoLoader = Callable[[NDArray[np.int64], int], NDArray[np.uint8]]
"""(B,) row numbers and a size -> (B, S, S, 3) uint8 RGB; another S than the size is resized."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of training at one input size in pixels; `share` is relative to those of all
    phases."""

    size: int
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """The hyperparameters of a training.

    `time_budget_s` ends training early, with the schedule compressed to end with it. With a budget
    the result depends on the machine's speed, without it only on the seed.
    """

    phases: tuple[Phase, ...]
    epochs: float
    time_budget_s: float | None = None
    batch: int = 64
    learning_rate: float = 2e-3  # of the head; AdamW
    backbone_rate: float = 1.0  # learning rate of the backbone, as a share of the head's
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    warm_up: float = 0.05  # share of the training in which the rate rises from zero
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress after each step. `fraction` of the whole is in [0, 1], also with a time budget;
    `seconds` since the start."""

    step: int
    total: int
    fraction: float
    loss: float
    size: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class TrainedBackbone:
    """The new weights by torchvision's parameter names, on the CPU; `losses` has every step's."""

    state: State
    dimension: int
    seconds: float
    losses: tuple[float, ...]


def fine_tune(
    name: str,
    state: State,
    photos: NDArray[np.uint8] | PhotoLoader,
    labels: Sequence[str],
    *,
    preprocessing: Preprocessing,
    epochs: float = 8,
    time_budget_s: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[Progress], None] | None = None,
) -> TrainedBackbone:
    """Fine-tune given weights on labelled photos; see `train_backbone`.

    The first half runs at two thirds of the input size, which takes half as long, where the network
    takes inputs of any size.
    """
    small = max(32, preprocessing.size * 2 // 3 // 32 * 32)
    whole = Phase(preprocessing.size)
    plan = TrainingPlan(
        phases=(whole,) if has_fixed_size(name) else (Phase(small), whole),
        epochs=epochs,
        time_budget_s=time_budget_s,
        batch=32,
        learning_rate=2e-3,
        backbone_rate=0.2,
        seed=seed,
    )
    return train_backbone(
        name, photos, labels, plan=plan, state=state, preprocessing=preprocessing,
        device=device, progress=progress,
    )  # fmt: skip


def train_backbone(
    name: str,
    photos: NDArray[np.uint8] | PhotoLoader,
    labels: Sequence[str],
    *,
    plan: TrainingPlan,
    preprocessing: Preprocessing,
    state: State | None = None,
    device: str = "cpu",
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainedBackbone:
    """Train a backbone to classify labels with a linear head, which is discarded afterwards.

    Args:
        photos: (N, S, S, 3) uint8 RGB, or a loader of rows.
        state: the initial weights; None: random ones, by the plan's seed.
        clock: monotonic seconds; read once in each step.

    Raises:
        ConfigurationError: fewer than two categories, a number of photos that differs from that of
            labels, or an unknown backbone.
    """
    classes = sorted(set(labels))
    if len(classes) < 2 or (isinstance(photos, np.ndarray) and len(photos) != len(labels)):
        raise ConfigurationError(
            "Training needs photos of at least two categories and one label for each photo; got "
            f"{len(labels)} labels of {len(classes)} categories."
        )
    targets = np.array([classes.index(label) for label in labels])
    # The seed is set inside a fork, so that the caller's random state does not change.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(plan.seed)
        backbone = Backbone(name)
        if state is not None:
            backbone.load(state)
        model = nn.Sequential(backbone, nn.Linear(backbone.dimension, len(classes)))
        run = _Run(model, photos, targets, plan, preprocessing, device)
        losses, seconds = run.steps(clock, progress)
        run.recompute_norms()
    return TrainedBackbone(backbone.state(), backbone.dimension, seconds, tuple(losses))


class _Run:
    """One training: the model, its optimiser and its random number generator."""

    def __init__(
        self,
        model: nn.Sequential,
        photos: NDArray[np.uint8] | PhotoLoader,
        targets: NDArray[np.int64],
        plan: TrainingPlan,
        preprocessing: Preprocessing,
        device: str,
    ) -> None:
        self._photos, self._targets, self._plan, self._device = photos, targets, plan, device
        self._model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        self._norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in self._norms:  # torchvision's 0.01 for MobileNet is too slow for short trainings
            norm.momentum = 0.1
        self._optimiser = torch.optim.AdamW(_parameter_groups(model, plan))
        self._rates = [group["lr"] for group in self._optimiser.param_groups]
        self._mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
        self._rng = np.random.default_rng(plan.seed)
        self._batch = min(plan.batch, len(targets))
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def steps(
        self, clock: Callable[[], float], progress: Callable[[Progress], None] | None
    ) -> tuple[list[float], float]:
        """Run all steps; returns the losses and the elapsed seconds."""
        plan, start, elapsed = self._plan, clock(), 0.0
        total = max(1, round(plan.epochs * len(self._targets) / self._batch))
        budget = plan.time_budget_s if plan.time_budget_s is not None else math.inf
        losses: list[float] = []
        self._model.train()
        while len(losses) < total and (elapsed < budget or not losses):
            fraction = min(1.0, max(len(losses) / total, elapsed / budget))
            size = _size_at(plan.phases, fraction)
            losses.append(self._step(fraction, size))
            elapsed = clock() - start
            if progress is not None:
                done = min(1.0, max(len(losses) / total, elapsed / budget))
                progress(Progress(len(losses), total, done, losses[-1], size, elapsed))
        return losses, elapsed

    @torch.no_grad()
    def recompute_norms(self, batches: int = 16) -> None:
        """Recompute the statistics of BatchNorm on photos without augmentation at the last size.

        Those of the training are of augmented photos, and of weights that have changed since.
        """
        if not self._norms:
            return
        for norm in self._norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
        size = self._plan.phases[-1].size
        self._model.train()
        for _ in range(min(batches, math.ceil(len(self._targets) / self._batch))):
            with self._autocast():
                self._model(self._normalise(self._load(self._next_rows(), size)))

    def _step(self, fraction: float, size: int) -> float:
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * _schedule(fraction, self._plan.warm_up)
        rows = self._next_rows()
        images = self._normalise(augment(self._load(rows, size), self._rng))
        targets = torch.from_numpy(self._targets[rows]).to(self._device)
        with self._autocast():
            logits = self._model(images)
        smoothing = self._plan.label_smoothing
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(self._model.parameters(), 5.0)
        self._optimiser.step()
        return float(loss.detach())

    def _next_rows(self) -> NDArray[np.int64]:
        if len(self._order) < self._batch:  # a smaller last batch is dropped: norms need many rows
            self._order = self._rng.permutation(len(self._targets))
        rows, self._order = self._order[: self._batch], self._order[self._batch :]
        return rows

    def _load(self, rows: NDArray[np.int64], size: int) -> Tensor:
        """(B, 3, size, size) float32 in [0, 1], channels last, on the device."""
        photos = self._photos
        pixels = photos[rows] if isinstance(photos, np.ndarray) else photos(rows, size)
        nchw = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self._device)
        if nchw.shape[2:] != (size, size):
            nchw = F.interpolate(nchw, size=(size, size), mode="bilinear", antialias=True)
        return nchw.float() / 255

    def _normalise(self, images: Tensor) -> Tensor:
        normalised = (images - self._mean) / self._std
        return normalised.contiguous(memory_format=torch.channels_last)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device, torch.bfloat16, enabled=supports_bf16(self._device))


def _parameter_groups(model: nn.Sequential, plan: TrainingPlan) -> list[dict[str, object]]:
    groups: list[dict[str, object]] = []
    for part, rate in ((model[0], plan.backbone_rate), (model[1], 1.0)):
        parameters = list(part.parameters())
        for decays in (True, False):  # norms and biases are not decayed
            chosen = [p for p in parameters if (p.ndim > 1) == decays]
            decay = plan.weight_decay if decays else 0.0
            groups.append(
                {"params": chosen, "lr": plan.learning_rate * rate, "weight_decay": decay}
            )
    return [group for group in groups if cast(list[Tensor], group["params"])]


def _schedule(fraction: float, warm_up: float) -> float:
    """A linear rise, then half a cosine down to zero."""
    if fraction < warm_up:
        return max(fraction / warm_up, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (fraction - warm_up) / (1 - warm_up)))


def _size_at(phases: Sequence[Phase], fraction: float) -> int:
    reached = 0.0
    for phase in phases:
        reached += phase.share / sum(p.share for p in phases)
        if fraction < reached:
            return phase.size
    return phases[-1].size
