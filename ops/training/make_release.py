"""Makes a release from labelled embeddings: fits heads, evaluates them and assembles the release.

Owns the metrics in the manifest. Does not depend on where embeddings come from. The trainer and
the demo use it. The same rows, code and seed give the same digest on one kind of machine,
whatever the number of threads: sums are computed in one order, by one thread.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.categories.measures import tree_measures
from ops.models.categories.tree import Thresholds, is_tree
from ops.models.heads import class_probabilities
from ops.models.release import AnyHead, FrozenBackbone, Head, Release
from ops.models.release_files import assemble
from ops.models.task_head import TaskHead
from ops.tasks import HEADLINE_TASK, Ad, Fit, Task, all_tasks, task_by_name
from ops.training.blend import (
    FOLDS,
    ONE_FOLD_FROM_ROWS,
    Trial,
    blend,
    choose_mix,
    folds,
    thresholds_of_mix,
)
from ops.training.evaluation import evaluate, logistic_regression_accuracy, majority_accuracy
from ops.training.figures import Accuracy, why_behind
from ops.vectors import Embeddings

if TYPE_CHECKING:
    from ops.training.fine_tune import PhotoLoader

BASELINE_ROWS = 5_000
"""With more rows scikit-learn's regression takes minutes."""

StepProgress = Callable[[str, int, int], object]
"""Called with the name of the step, the units done, and the units in all."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """N photos: their vectors (N, D), their labels, and their groups, which are validated
    together."""

    rows: Embeddings
    labels: Sequence[str]
    groups: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class JudgedTask:
    """A head, and its evaluation on the held-out photos."""

    head: Head
    fit: dict[str, Any]  # JSON: how the head was chosen
    held_out: dict[str, Any]  # JSON: ops.training.evaluation.evaluate's measures
    judged: NDArray[np.int64]  # (M,) the held-out rows that were evaluated: those of known labels
    probabilities: NDArray[np.float32]  # (M, C), columns as the head's labels
    baselines: dict[str, float]  # accuracies of other classifiers on the same photos
    left_out: tuple[str, ...]  # labels with too few photos to learn them

    @property
    def accuracy(self) -> Accuracy:
        """The accuracy on the held-out photos, with its interval."""
        return Accuracy.of(self.held_out)

    @property
    def behind_baseline(self) -> str | None:
        """Why scikit-learn's logistic regression is right more often; None where it is not."""
        return why_behind(self.accuracy, self.baselines, self.fit)


@dataclass(frozen=True, slots=True, eq=False)
class JudgedAds:
    """The head of a task that learns from ads, and its measures on held-out ads."""

    head: TaskHead
    fit: dict[str, Any]  # JSON: how it was fitted
    held_out: dict[str, Any]  # JSON: the measures of the task's `judge`


@dataclass(frozen=True, slots=True, eq=False)
class MadeRelease:
    """A release and its evaluation."""

    release: Release
    tasks: Mapping[str, JudgedTask]
    losses: tuple[float, ...] = field(default=())  # of each step, where the backbone was trained
    of_ads: Mapping[str, JudgedAds] = field(default_factory=dict)


def judge_head(
    task: str,
    train: LabelledRows,
    held_out: LabelledRows,
    *,
    seed: int = 0,
    min_photos: int = 2,
    live: Head | None = None,
    baseline: bool = True,
) -> JudgedTask:
    """Fit a task's head and evaluate it on held-out rows.

    Args:
        min_photos: labels with fewer training photos are left out, unless `live` has them.
        live: a head of the same backbone that the new one is mixed with (ops/training/blend.py).
        baseline: whether to fit the logistic regression of scikit-learn for comparison.

    Raises:
        ConfigurationError: the task has no `fit`, or there are too few rows to fit or evaluate a
            head.
    """
    fit = task_by_name(task).fit
    if fit is None:
        raise ConfigurationError(f"The task {task} can't be trained: it has no `fit`.")
    counts = Counter(train.labels)
    left_out = tuple(sorted(label for label, n in counts.items() if n < max(2, min_photos)))
    train = _without(train, left_out)
    with repeatable():
        head, fitted = fit(train.rows, train.labels, groups=train.groups, seed=seed)
        if live is not None:
            head, fitted = _mixed_with(live, head, fitted, train, fit, seed)
        judged = np.flatnonzero(np.isin(np.array(held_out.labels, object), list(head.labels)))
        if len(judged) == 0:
            raise ConfigurationError(
                f"There is nothing to evaluate the task {task} on: none of the "
                f"{len(held_out.labels)} held-out photos has one of the {len(head.labels)} labels "
                "of the head. Label more ads."
            )
        labels = [held_out.labels[i] for i in judged.tolist()]
        probabilities = class_probabilities(held_out.rows[judged], head)
        measures = evaluate(probabilities, labels, head.labels)
        thresholds = Thresholds.of(head.config)
        if thresholds is not None:
            measures |= tree_measures(probabilities, labels, head.labels, thresholds)
        baselines = {"majority_accuracy": majority_accuracy(train.labels, labels)}
        if baseline and len(train.labels) <= BASELINE_ROWS:
            baselines["logistic_regression_accuracy"] = logistic_regression_accuracy(
                train.rows, train.labels, held_out.rows[judged], labels
            )
    return JudgedTask(head, fitted, measures, judged, probabilities, baselines, left_out)


def judge_ads(
    name: str,
    train: Sequence[Ad],
    held_out: Sequence[Ad],
    *,
    groups: Sequence[str],
    seed: int = 0,
) -> JudgedAds:
    """Fit the head of a task that learns from ads, and measure it on held-out ads.

    Raises:
        ConfigurationError: the task does not learn from ads, or no head can be fitted to these.
    """
    task = task_by_name(name)
    if task.fit_ads is None:
        raise ConfigurationError(f"The task {name} does not learn from ads: it has no `fit_ads`.")
    with repeatable():
        head, fitted = task.fit_ads(train, groups=groups, seed=seed)
        return JudgedAds(head, fitted, measures_of_ads(task, held_out, head))


def measures_of_ads(task: Task, ads: Sequence[Ad], head: AnyHead) -> dict[str, Any]:
    """A task's own measures of the answers to ads; of none, a count of 0."""
    if task.judge is None or task.predict_ads is None:
        raise ConfigurationError(f"The task {task.name} has no `judge`.")
    if not ads:
        return {"count": 0}
    return dict(task.judge(task.predict_ads(ads, head), ads))


def _mixed_with(
    live: Head, head: Head, fitted: dict[str, Any], train: LabelledRows, fit: Fit, seed: int
) -> tuple[Head, dict[str, Any]]:
    """Mix the head with the live one, by the share that cross-validation finds."""
    groups = list(range(len(train.labels))) if train.groups is None else train.groups
    fold_of = folds([str(group) for group in groups], seed)
    trials: list[Trial] = []
    for fold in range(1 if len(train.labels) >= ONE_FOLD_FROM_ROWS else FOLDS):
        rest = _rows_at(train, np.flatnonzero(fold_of != fold))
        rest = _without(rest, [label for label, n in Counter(rest.labels).items() if n < 2])
        if len(set(rest.labels)) > 1:
            trial_head, _ = fit(rest.rows, rest.labels, groups=rest.groups, seed=seed)
            validation = _rows_at(train, np.flatnonzero(fold_of == fold))
            trials.append(Trial(trial_head, validation.rows, validation.labels))
    mix = choose_mix(trials, live)
    if mix is None:
        return head, {**fitted, "share_of_live_head": 0.0}
    metrics = {
        "share_of_live_head": 1 - mix.share,
        "mix_sharpness": mix.sharpness,
        "mix_log_loss": mix.log_loss,
    }
    if mix.share == 1:
        return head, {**fitted, **metrics}
    mixed = blend(head, live, mix)
    if is_tree(mixed.labels):
        mixed = replace(mixed, config=thresholds_of_mix(trials, live, mix).as_config())
    return mixed, {**fitted, **metrics, **mixed.config}


def freeze_release(
    backbone: FrozenBackbone,
    weights_source: str,
    tasks: Mapping[str, JudgedTask],
    *,
    of_ads: Mapping[str, JudgedAds] | None = None,
    kept: Mapping[str, AnyHead] | None = None,
    facts: Mapping[str, Any] | None = None,
    losses: Sequence[float] = (),
) -> MadeRelease:
    """Assemble a release of heads and backbone, with the metrics in its manifest.

    Args:
        of_ads: the tasks that learn from ads.
        kept: heads of other tasks, copied unchanged from a release of this backbone. The tasks
            that learn nothing are in every release.
        facts: JSON for the metrics: what the release was trained on, and the seed.
        losses: the loss of each step, where the backbone was trained.
    """
    of_ads = {} if of_ads is None else of_ads
    made: dict[str, JudgedTask | JudgedAds] = {**tasks, **of_ads}
    kept = {} if kept is None else {t: h for t, h in kept.items() if t not in made}
    kept |= unlearned_heads(made)
    headline = tasks.get(HEADLINE_TASK)
    metrics: dict[str, Any] = {
        **({} if headline is None else {"accuracy": headline.held_out["accuracy"]}),
        **({} if facts is None else facts),
        "heads_kept": sorted(kept),
        "tasks": {
            name: {
                "held_out": judged.held_out,
                "fit": judged.fit,
                "left_out": list(judged.left_out),
                **judged.baselines,
            }
            for name, judged in tasks.items()
        }
        | {
            name: {"held_out": judged.held_out, "fit": judged.fit}
            for name, judged in of_ads.items()
        },
    }
    release = assemble(
        backbone=backbone.name,
        weights_source=weights_source,
        preprocessing=backbone.preprocessing,
        backbone_state=backbone.state,
        heads={**kept, **{name: judged.head for name, judged in made.items()}},
        metrics=_rounded(metrics),
    )
    return MadeRelease(release, dict(tasks), tuple(losses), dict(of_ads))


def unlearned_heads(learned: Collection[str] = ()) -> dict[str, TaskHead]:
    """The heads of the installed tasks that learn nothing, except those in `learned`."""
    return {
        task.name: task.unlearned_head()
        for task in all_tasks()
        if not task.learns and task.name not in learned
    }


def tune_backbone(
    backbone: FrozenBackbone,
    photos: "NDArray[np.uint8] | PhotoLoader",
    labels: Sequence[str],
    *,
    device: str,
    epochs: float = 8,
    time_budget_s: float | None = None,
    seed: int = 0,
    on_progress: StepProgress,
) -> tuple[FrozenBackbone, tuple[float, ...]]:
    """Fine-tune a backbone on labelled photos; returns it and the loss of each step.

    The result is repeatable by seed on one machine, but not bit for bit on CUDA, nor with another
    number of threads, nor with a time budget.
    """
    from ops.training.fine_tune import Progress, fine_tune

    def step(at: Progress) -> None:
        on_progress(f"fine-tuning the backbone (loss {at.loss:.2f})", round(100 * at.fraction), 100)

    trained = fine_tune(
        backbone.name,
        backbone.state,
        photos,
        labels,
        preprocessing=backbone.preprocessing,
        epochs=epochs,
        time_budget_s=time_budget_s,
        seed=seed,
        device=device,
        progress=step,
    )
    tuned = FrozenBackbone(backbone.name, trained.state, backbone.preprocessing)
    return tuned, trained.losses


@contextmanager
def repeatable() -> Iterator[None]:
    """Limit BLAS and torch to one thread: the order of sums depends on the number of threads."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def every_core() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _without(rows: LabelledRows, labels: Sequence[str]) -> LabelledRows:
    if not labels:
        return rows
    return _rows_at(rows, np.flatnonzero([label not in labels for label in rows.labels]))


def _rows_at(rows: LabelledRows, indices: NDArray[np.int64]) -> LabelledRows:
    chosen = indices.tolist()
    groups = None if rows.groups is None else [rows.groups[i] for i in chosen]
    return LabelledRows(rows.rows[indices], [rows.labels[i] for i in chosen], groups)


def _rounded(value: Any) -> Any:
    """JSON with floats rounded to six decimal places: more digits would not be significant."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
