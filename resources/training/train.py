"""Trains a release on the catalogue's labels: freezes a training set, and trains a model on it.

Owns the choice of inputs; `ops/training/make_release.py` computes. The assets, the command and the
tests call these functions, so that all create the same release from the same rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError, NotReadyError
from ops.models.release import FrozenBackbone, Head, Release, State
from ops.tasks import HEADLINE_TASK, Ad, all_tasks
from ops.training.dataset import Example, SplitRule, TrainingSet, freeze
from ops.training.make_release import (
    JudgedAds,
    JudgedTask,
    LabelledRows,
    MadeRelease,
    StepProgress,
    freeze_release,
    judge_ads,
    judge_head,
    tune_backbone,
)
from ops.training.provenance import count_by_origin, training_photos
from ops.training.taught_ads import AdExample, Part
from resources.inference.device import choose_device
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.settings import Settings
from resources.storage.stores import Stores
from resources.training.labels import read_embeddings, read_labelled
from resources.training.stored_photos import RenditionLoader, Vectors, embed_renditions
from resources.training.taught_ads import read_taught_ads

LIVE = "live"
"""The unchanged backbone of the live release: heads are fitted on its stored embeddings."""

PARTS: tuple[Part, Part] = ("train", "held_out")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How to train. `starter`: returns the shipped weights for a backbone's name."""

    seed: int = 0
    backbone: str = LIVE  # or a name, or "auto"; see resources.training.weights
    weights: str = "auto"  # of a named backbone; see resources.training.weights
    finetune: bool = False
    epochs: float = 8.0  # of a fine-tune
    foreground: bool = False  # embed the goods alone: another backbone key
    starter: Callable[[str], State] | None = None


@dataclass(frozen=True, slots=True)
class FrozenSet:
    """A stored training set."""

    digest: str
    content: TrainingSet


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A new release, its training set, and the photos that it was evaluated on."""

    made: MadeRelease
    training_set: str
    judged: Mapping[str, Sequence[Example]]  # by task, in the order of its JudgedTask's rows
    not_learned: Mapping[str, str] = field(default_factory=dict)  # reason by task


def freeze_training_set(
    database: Database, stores: Stores, settings: Settings, *, rule: SplitRule | None = None
) -> FrozenSet:
    """Freeze the current labels as a training set; the same rows give the same digest.

    Raises:
        ConfigurationError: no release is live.
        NotReadyError: no scored ad has a label.
    """
    backbone = read_active_releases(database).live.backbone
    tasks = [task.name for task in all_tasks() if task.fit is not None]
    photos = read_labelled(database, tasks, backbone, most=settings.training_photos)
    taught = [task.learns_from for task in all_tasks() if task.learns_from is not None]
    ads = read_taught_ads(database, taught, backbone, most=settings.training_ads)
    of_ads = [sha256 for ad in ads for sha256, _ in ad.photos]
    vectors = read_embeddings(database, backbone, [*(p.sha256 for p in photos), *of_ads])
    photos = [photo for photo in photos if photo.sha256 in vectors]
    if not photos:
        raise NotReadyError(
            "no scored ad has a label: ads need a category, or corrections by people, and "
            "embeddings of the live release"
        )
    training_set = freeze(
        photos,
        np.stack([vectors[photo.sha256] for photo in photos]),
        backbone=backbone,
        rule=SplitRule() if rule is None else rule,
        ads=[ad for ad in ads if all(sha256 in vectors for sha256, _ in ad.photos)],
        vectors=vectors,
    )
    return FrozenSet(stores.training.save(training_set), training_set)


def train_release(
    database: Database,
    stores: Stores,
    settings: Settings,
    training_set: str,
    options: TrainingOptions,
    *,
    on_progress: StepProgress,
) -> Trained:
    """Train a release on a frozen set, without saving or registering it.

    Raises:
        ConfigurationError: no release is live, weights are not available, or there are too few
            examples.
    """
    content = stores.training.load(training_set)
    live = read_active_releases(database).live
    current = stores.releases.load(live.digest)
    backbone, source = _backbone(current, options)
    losses: tuple[float, ...] = ()
    is_of_live = backbone.digest is not None
    is_live_backbone = is_of_live and not options.finetune
    untuned = backbone
    if options.finetune:
        backbone, losses = _fine_tuned(backbone, content, stores, settings, options, on_progress)
        source += f", fine-tuned on training set {training_set[:12]}"
    if is_live_backbone:
        photos = list(content.renditions)
        vectors: Vectors = read_embeddings(database, live.backbone, photos)
    else:
        vectors = _embedded(backbone, content, stores, settings, on_progress)
    start = current.heads if is_live_backbone else {}
    linear = current.linear_heads if is_live_backbone else {}
    judged, examples, not_learned = _heads(content, vectors, linear, settings, options, on_progress)
    of_ads, without = _of_ads(content, vectors, options, on_progress)
    not_learned |= without
    taught = {(e.photo.catalog, e.photo.sha256) for t in judged for e in content.of(t, "train")}
    counts = count_by_origin(taught)
    facts: dict[str, Any] = {
        **training_photos(
            drawn=counts["drawn"],
            real=counts["real"],
            continues=current.manifest if options.backbone == LIVE else None,
        ),
        "training_set": training_set,
        "seed": options.seed,
        "photos_gone": sum(e.photo.sha256 not in vectors for e in content.examples),
        **({"ads": len(content.ads)} if of_ads else {}),
        "not_learned": not_learned,
        "started_from": live.name if is_live_backbone else None,
    }
    if options.finetune:
        if is_of_live:
            photos = list(content.renditions)
            vectors = read_embeddings(database, live.backbone, photos)
        else:
            vectors = _embedded(untuned, content, stores, settings, on_progress)
        facts["accuracy_before_tuning"] = _accuracies(content, vectors, judged, settings, options)
    made = freeze_release(
        backbone, source, judged, of_ads=of_ads, kept=start, facts=facts, losses=losses
    )
    return Trained(made, training_set, examples, not_learned)


def _backbone(current: Release, options: TrainingOptions) -> tuple[FrozenBackbone, str]:
    backbone, source = _whole_photos(current, options)
    if not options.foreground:
        return backbone, source
    from ops.models.segments.foreground import foreground_sha256

    if backbone.preprocessing.foreground == foreground_sha256():
        return backbone, source
    goods = replace(backbone.preprocessing, foreground=foreground_sha256())
    return FrozenBackbone(backbone.name, backbone.state, goods), source


def _whole_photos(current: Release, options: TrainingOptions) -> tuple[FrozenBackbone, str]:
    if options.backbone == LIVE:
        return current.backbone, current.manifest.weights_source
    from resources.training.weights import starting_weights

    def no_starter(name: str) -> State:
        raise ConfigurationError(f"no weights are shipped for {name}")

    starter = no_starter if options.starter is None else options.starter
    weights = starting_weights(options.weights, options.backbone, starter=starter)
    return FrozenBackbone(weights.backbone, weights.state, weights.preprocessing), weights.source


def _fine_tuned(
    backbone: FrozenBackbone,
    content: TrainingSet,
    stores: Stores,
    settings: Settings,
    options: TrainingOptions,
    on_progress: StepProgress,
) -> tuple[FrozenBackbone, tuple[float, ...]]:
    """Fine-tune on the headline task's training part; held-out photos are not used."""
    photos = [
        example.photo
        for example in content.of(HEADLINE_TASK, "train")
        if stores.photos.exists("renditions", example.photo.rendition_sha256)
    ]
    renditions = [photo.rendition_sha256 for photo in photos]
    with closing(RenditionLoader(stores.photos, renditions, backbone.preprocessing)) as loader:
        return tune_backbone(
            backbone,
            loader,
            [photo.label for photo in photos],
            device=choose_device(settings.device),
            epochs=options.epochs,
            seed=options.seed,
            on_progress=on_progress,
        )


def _embedded(
    backbone: FrozenBackbone,
    content: TrainingSet,
    stores: Stores,
    settings: Settings,
    on_progress: StepProgress,
) -> dict[bytes, NDArray[np.float16]]:
    from resources.inference.loading import new_embedder

    renditions = content.renditions
    on_progress("embedding photos", 0, len(renditions))
    return embed_renditions(
        stores.photos,
        renditions,
        new_embedder(backbone, settings.model_copy(update={"torch_threads": 0})),
        backbone.preprocessing,
        on_progress=on_progress,
    )


def _heads(
    content: TrainingSet,
    vectors: Vectors,
    live: Mapping[str, Head],
    settings: Settings,
    options: TrainingOptions,
    on_progress: StepProgress,
) -> tuple[dict[str, JudgedTask], dict[str, list[Example]], dict[str, str]]:
    """Fit a head for each task; raises ConfigurationError if no task can be fitted."""
    judged: dict[str, JudgedTask] = {}
    examples: dict[str, list[Example]] = {}
    not_learned: dict[str, str] = {}
    for number, task in enumerate(content.tasks):
        on_progress("fitting heads", number, len(content.tasks))
        sides = {part: _present(content, task, part, vectors) for part in ("train", "held_out")}
        try:
            judged[task] = judge_head(
                task,
                _rows(sides["train"], vectors),
                _rows(sides["held_out"], vectors),
                seed=options.seed,
                min_photos=settings.training_min_photos,
                live=live.get(task),
            )
        except ConfigurationError as error:
            not_learned[task] = str(error)
            continue
        examples[task] = [sides["held_out"][i] for i in judged[task].judged]
    on_progress("fitting heads", len(content.tasks), len(content.tasks))
    if not judged:
        raise ConfigurationError("; ".join(not_learned.values()) or "the training set is empty")
    return judged, examples, not_learned


def _of_ads(
    content: TrainingSet,
    vectors: Vectors,
    options: TrainingOptions,
    on_progress: StepProgress,
) -> tuple[dict[str, JudgedAds], dict[str, str]]:
    """Fit a head for each task that learns from ads; and why tasks have none, by task."""
    judged: dict[str, JudgedAds] = {}
    not_learned: dict[str, str] = {}
    tasks = [task for task in all_tasks() if task.fit_ads is not None]
    for number, task in enumerate(tasks):
        on_progress("learning from ads", number, len(tasks))
        usable = task.learns_from
        assert usable is not None
        sides = [
            [e for e in content.ads_of(part) if usable(e.ad.fields) and has_vectors(e, vectors)]
            for part in PARTS
        ]
        train, held_out = ([as_ad(e, vectors) for e in side] for side in sides)
        groups = [example.group.hex() for example in sides[0]]
        try:
            judged[task.name] = judge_ads(
                task.name, train, held_out, groups=groups, seed=options.seed
            )
        except ConfigurationError as error:
            not_learned[task.name] = str(error)
    on_progress("learning from ads", len(tasks), len(tasks))
    return judged, not_learned


def has_vectors(example: AdExample, vectors: Vectors) -> bool:
    """Whether every photo of an ad has a vector."""
    return all(sha256 in vectors for sha256, _ in example.ad.photos)


def as_ad(example: AdExample, vectors: Vectors) -> Ad:
    """An ad as tasks read it: its photos' vectors, and its fields; without others' answers."""
    rows = np.stack([vectors[sha256] for sha256, _ in example.ad.photos])
    return Ad(embeddings=rows, fields=example.ad.fields)


def _accuracies(
    content: TrainingSet,
    vectors: Vectors,
    tasks: Iterable[str],
    settings: Settings,
    options: TrainingOptions,
) -> dict[str, float]:
    """By task the accuracy of a head that is fitted and evaluated on these vectors."""
    return {
        task: judge_head(
            task,
            _rows(_present(content, task, "train", vectors), vectors),
            _rows(_present(content, task, "held_out", vectors), vectors),
            seed=options.seed,
            min_photos=settings.training_min_photos,
            baseline=False,
        ).held_out["accuracy"]
        for task in tasks
    }


def _present(content: TrainingSet, task: str, part: Any, vectors: Vectors) -> list[Example]:
    side: Part = part
    return [e for e in content.of(task, side) if e.photo.sha256 in vectors]


def _rows(examples: Sequence[Example], vectors: Vectors) -> LabelledRows:
    if not examples:
        return LabelledRows(np.empty((0, 1), np.float16), [], [])
    return LabelledRows(
        np.stack([vectors[e.photo.sha256] for e in examples]),
        [e.photo.label for e in examples],
        [e.group.hex() for e in examples],
    )
