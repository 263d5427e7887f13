"""Makes the release of a demo: its weights, its head, and its accuracy beside two baselines.

The backbone is the first of pretrained weights that are here and the starter. Drawn photos are
scored without a few of their categories, as if the release had been made before the marketplace
opened them. For a user's photos, a head is fitted on the training part and evaluated on the rest;
with `--finetune` the backbone is trained on the training part too, and kept where that is better.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from lalafo_assets.demo.ads import LabelledPhoto
from lalafo_assets.demo.collection import Collection, generated_collection
from lalafo_assets.demo.options import DemoOptions
from lalafo_assets.starter import load_starter, starter_state
from ops.errors import BadInputError, ConfigurationError
from ops.models.categories.measures import tree_figures
from ops.models.release import FrozenBackbone, Head, Preprocessing, Release
from ops.models.release_files import assemble
from ops.photos.rendition import make_rendition
from ops.training.figures import Accuracy
from ops.training.make_release import LabelledRows, freeze_release, judge_head, tune_backbone
from ops.training.provenance import training_photos
from resources.settings import Settings

CHUNK = 256
TASK = "category"
HEAD_ADS = 240  # a head for drawn photos is fitted on the photos of so many ads
HEAD_SEED_STEP = 1_000
FINETUNE_S = 600.0  # at most; with fewer steps the schedule is compressed

NEW_CATEGORIES = ("bicycle", "sofa", "watch")
"""Drawn categories that the first release lacks, so that a trained release can be better."""

Row = tuple[str, str]


@dataclass(frozen=True, slots=True)
class DemoRelease:
    """A release, the source of its weights, and its measures for the closing table."""

    release: Release
    weights: str
    baselines: tuple[Row, ...] = ()
    accuracy: Accuracy | None = None  # on held-out photos, where a head was fitted
    new_categories: tuple[str, ...] = ()  # ads have these categories, and it does not know them


def make_release(
    options: DemoOptions, collection: Collection, settings: Settings, progress: Progress
) -> DemoRelease:
    """Return the release that will score this demo's ads.

    Raises:
        ConfigurationError: the requested weights are not available, or no photo can be read.
    """
    from resources.training.weights import starting_weights

    own = options.photos is not None
    if own and not collection.labelled:
        return _without_classes(options)
    if not own and options.finetune:
        raise ConfigurationError(
            "--finetune trains on your own photos: give their folder with --photos DIR"
        )
    given = starting_weights(options.weights, options.backbone, starter=starter_state)
    if not own and given.source.startswith("starter"):
        return _before_new_categories(given.source)
    if not own:
        collection = _drawn_for_a_head(options, collection, progress)
    backbone = FrozenBackbone(given.backbone, given.state, given.preprocessing)
    source = given.source
    count = len(collection.train)
    facts = training_photos(drawn=0 if own else count, real=count if own else 0)
    new = () if own else NEW_CATEGORIES
    before = _with_head(backbone, source, collection, settings, progress, facts=facts, new=new)
    if not options.finetune:
        return before
    backbone = _fine_tuned(backbone, collection, settings, progress)
    source = f"{source}, fine-tuned on {count} photos"
    tuned = _with_head(backbone, source, collection, settings, progress, facts=facts, new=new)
    return better(before, tuned)


def better(before: DemoRelease, tuned: DemoRelease) -> DemoRelease:
    """Return the fine-tuned release where it is right more often on the held-out photos, else the
    one before; with the other's accuracy as a row."""
    assert before.accuracy is not None and tuned.accuracy is not None
    if tuned.accuracy.right > before.accuracy.right:
        return replace(
            tuned,
            baselines=(*tuned.baselines, ("  not fine-tuned", f"{before.accuracy.share:.1%}")),
        )
    text = f"{tuned.accuracy.share:.1%}, which is not better: the release is without it"
    return replace(before, baselines=(*before.baselines, ("  fine-tuned", text)))


def _without_classes(options: DemoOptions) -> DemoRelease:
    """Return the starter as it is: no head can be fitted on photos without classes."""
    if options.finetune or options.weights not in ("auto", "starter"):
        given = "--finetune" if options.finetune else f"--weights {options.weights}"
        raise ConfigurationError(
            f"{given} needs classes to fit a head on, and {options.photos} has none to learn: put "
            f"the photos into one subfolder per class, or leave {given} out"
        )
    starter = load_starter()
    labels = len(starter.linear_heads[TASK].labels)
    rows = (("known categories", f"{labels}, learned from drawn photos, not from yours"),)
    return DemoRelease(starter, "starter, since there are no classes to learn", rows)


def _before_new_categories(source: str) -> DemoRelease:
    """Return the starter without NEW_CATEGORIES."""
    starter = load_starter()
    head, metrics = starter.linear_heads[TASK], dict(starter.manifest.metrics)
    kept = [row for row, label in enumerate(head.labels) if label not in NEW_CATEGORIES]
    older = Head(TASK, tuple(head.labels[row] for row in kept), head.weight[kept], head.bias[kept])
    release = assemble(
        backbone=starter.manifest.backbone,
        weights_source=starter.manifest.weights_source,
        preprocessing=starter.manifest.preprocessing,
        backbone_state=starter.backbone_state,
        heads={TASK: older},
        metrics=training_photos(drawn=int(metrics["head_photos"]), real=0),
    )
    rows = [("known categories", f"{len(kept)} of {len(head.labels)}")]
    if "accuracy" in metrics:
        rows.append(("accuracy of the complete starter", f"{metrics['accuracy']:.1%}"))
    return DemoRelease(release, source, tuple(rows), new_categories=NEW_CATEGORIES)


def _drawn_for_a_head(
    options: DemoOptions, collection: Collection, progress: Progress
) -> Collection:
    """Draw photos of another seed to train on, without NEW_CATEGORIES; the ads' are held out."""
    drawing = progress.add_task("drawing photos to train on", total=None)
    seed = options.seed + HEAD_SEED_STEP
    drawn = generated_collection(
        options.home.resolve() / "demo" / f"photos-{seed}",
        ads=HEAD_ADS,
        seed=seed,
        progress=lambda done, total: progress.update(drawing, completed=done, total=total),
    )
    known = [photo for photo in drawn.held_out if photo.label not in NEW_CATEGORIES]
    train = [LabelledPhoto(f"../{drawn.folder.name}/{p.name}", p.label) for p in known]
    return Collection(collection.folder, tuple(train), collection.held_out)


def _with_head(
    backbone: FrozenBackbone,
    source: str,
    collection: Collection,
    settings: Settings,
    progress: Progress,
    *,
    facts: Mapping[str, Any],
    new: tuple[str, ...],
) -> DemoRelease:
    """Embed the photos, fit a head, evaluate it on the held-out part, and freeze the release."""
    train = _embed(backbone, collection, collection.train, settings, progress, "to train on")
    judged = _embed(backbone, collection, collection.held_out, settings, progress, "held out")
    fitting = progress.add_task("fitting the category head", total=1)
    category = judge_head(TASK, train, judged)
    made = freeze_release(backbone, source, {TASK: category}, facts=facts)
    progress.advance(fitting)
    baselines = category.baselines
    rows = [("accuracy on held-out photos", str(category.accuracy))]
    rows += [(f"  {name}", text) for name, text in tree_figures(category.held_out)]
    rows.append(("  calibration error", f"{category.held_out['calibration_error']:.3f}"))
    if "logistic_regression_accuracy" in baselines:
        logistic = baselines["logistic_regression_accuracy"]
        rows.append(("  scikit-learn's regression", f"{logistic:.1%}"))
    if category.behind_baseline is not None:
        rows.append(("", category.behind_baseline))
    rows.append(("  the majority class", f"{baselines['majority_accuracy']:.1%}"))
    return DemoRelease(made.release, source, tuple(rows), category.accuracy, new_categories=new)


def _fine_tuned(
    backbone: FrozenBackbone, collection: Collection, settings: Settings, progress: Progress
) -> FrozenBackbone:
    from resources.inference.device import choose_device

    images, labels = [], []
    for chunk, prepared in _prepared(collection, collection.train, backbone.preprocessing):
        images += prepared
        labels += [photo.label for photo in chunk]
    bar = progress.add_task("fine-tuning the backbone", total=100)

    def on_progress(what: str, done: int, _: int) -> None:
        progress.update(bar, completed=done, description=what)

    device = choose_device(settings.device)
    tuned, _ = tune_backbone(
        *(backbone, np.stack(images), labels),
        device=device,
        time_budget_s=FINETUNE_S,
        on_progress=on_progress,
    )
    return tuned


def _embed(
    backbone: FrozenBackbone,
    collection: Collection,
    photos: Sequence[LabelledPhoto],
    settings: Settings,
    progress: Progress,
    what: str,
) -> LabelledRows:
    from resources.inference.loading import new_embedder

    embedder = new_embedder(backbone, settings)
    bar = progress.add_task(f"embedding photos {what}", total=len(photos))
    rows, labels = [], []
    for chunk, images in _prepared(collection, photos, backbone.preprocessing):
        rows.append(embedder.embed(images))
        labels += [photo.label for photo in chunk]
        progress.advance(bar, len(chunk))
    if not labels:
        raise ConfigurationError(f"none of the {len(photos)} photos {what} could be read")
    progress.update(bar, completed=len(photos))
    if len(labels) < len(photos):
        progress.console.print(f"{len(photos) - len(labels)} photos {what} could not be read")
    return LabelledRows(np.concatenate(rows), labels)


def _prepared(
    collection: Collection, photos: Sequence[LabelledPhoto], preprocessing: Preprocessing
) -> Iterator[tuple[list[LabelledPhoto], list[NDArray[np.uint8]]]]:
    """Yield the readable photos in chunks, prepared as sessions and re-scores prepare them."""
    from ops.models.embed import prepare

    max_pixels = Settings().max_photo_pixels

    def attempt(photo: LabelledPhoto) -> NDArray[np.uint8] | None:
        data = (collection.folder / photo.name).read_bytes()
        try:
            return prepare(make_rendition(data, max_pixels=max_pixels).data, preprocessing)
        except BadInputError:
            return None

    with ThreadPoolExecutor(2) as threads:
        for start in range(0, len(photos), CHUNK):
            chunk = photos[start : start + CHUNK]
            pairs = [
                (photo, image)
                for photo, image in zip(chunk, threads.map(attempt, chunk), strict=True)
                if image is not None
            ]
            yield [photo for photo, _ in pairs], [image for _, image in pairs]
