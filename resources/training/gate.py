"""Runs the gate: compares a release with the live one, and stores the verdict.

Owns the choice of photos: those that neither release was trained on, as far as is known. The asset
checks and `lalafo releases check` call `check_release`, also for releases trained elsewhere.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from ops.errors import ConfigurationError
from ops.models.categories.tree import Thresholds
from ops.models.heads import class_probabilities
from ops.models.release import Head, Release
from ops.scoring.ready_release import PhotoEmbedder
from ops.tasks import Task, all_tasks
from ops.training.dataset import Example, TrainingSet, unknown_to
from ops.training.gate import judge, measures_over, nothing_to_compare
from ops.training.make_release import StepProgress, measures_of_ads
from ops.training.taught_ads import AdExample, unknown_ads
from ops.training.verdict import Judged, Margins, Verdict
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.registry import RegisteredRelease, find_release, write_verdict
from resources.settings import Settings
from resources.storage.stores import Stores
from resources.training.labels import read_embeddings
from resources.training.masks.labels import LabelledMask, mask_measures, read_mask_labels
from resources.training.stored_photos import Vectors, embed_renditions
from resources.training.train import as_ad, freeze_training_set, has_vectors

LATENCY_ROUNDS = 15
LATENCY_BATCH = 8


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """The photos that both releases are compared on."""

    training_set: str
    examples: list[Example]
    notes: tuple[str, ...]
    ads: list[AdExample]
    masks: list[LabelledMask]


@dataclass(frozen=True, slots=True, eq=False)
class _Contender:
    """A release, and its vectors of the held-out photos."""

    known: RegisteredRelease
    release: Release
    vectors: Vectors
    embedder: PhotoEmbedder | None  # None: both releases share a backbone


def check_release(
    database: Database,
    stores: Stores,
    settings: Settings,
    name: str,
    *,
    on_progress: StepProgress,
) -> Verdict:
    """Judge a registered release against the live one, and store the verdict.

    Raises:
        ConfigurationError: there is no release of that name, or a file of a release does not
            match its digest.
        NotReadyError: no scored ad has a label.
    """
    candidate = find_release(database, name)
    now = datetime.now(UTC)
    live = _live(database)
    if live is None:
        verdict = nothing_to_compare(candidate.name, judged_at=now)
    else:
        held_out = _held_out(database, stores, settings, candidate, live)
        contenders = _contenders(
            database, stores, settings, (candidate, live), held_out, on_progress
        )
        verdict = judge(
            *_judged(contenders, held_out, stores, on_progress),
            margins_of(settings),
            judged_at=now,
            notes=held_out.notes,
            details={
                "training_set": held_out.training_set,
                "held_out": len(held_out.examples),
                "held_out_ads": len(held_out.ads),
                "held_out_masks": len(held_out.masks),
            },
            own_margins={task.name: task.margins for task in (*_of_ads(), *_of_masks())},
        )
    write_verdict(database, candidate.name, verdict.as_json())
    return verdict


def margins_of(settings: Settings) -> Margins:
    """The margins from the settings."""
    return Margins(
        accuracy=settings.gate_accuracy_margin,
        recall=settings.gate_recall_margin,
        calibration=settings.gate_calibration_margin,
        latency_factor=settings.gate_latency_factor,
        memory_factor=settings.gate_memory_factor,
        min_photos=settings.gate_min_photos,
    )


def _live(database: Database) -> RegisteredRelease | None:
    try:
        return read_active_releases(database).live
    except ConfigurationError:
        return None


def _held_out(
    database: Database,
    stores: Stores,
    settings: Settings,
    candidate: RegisteredRelease,
    live: RegisteredRelease,
) -> _HeldOut:
    """The held-out part of the candidate's training set, or of one that is frozen now.

    Photos that either release is known to have been trained on are left out.
    """
    candidate_set = _training_set_of(stores, candidate)
    notes: list[str] = []
    if candidate_set is None:
        frozen = freeze_training_set(database, stores, settings)
        digest, content = frozen.digest, frozen.content
        notes.append(f"the training set of {candidate.name} is not known here")
    else:
        digest, content = str(candidate.manifest["metrics"]["training_set"]), candidate_set
    same = live.name == candidate.name
    live_set = candidate_set if same else _training_set_of(stores, live)
    if live_set is None:
        notes.append(
            f"the training set of {live.name} is not known here: it may contain some of these "
            "photos, which favours that release"
        )
    held_out = [example for example in content.examples if example.part == "held_out"]
    known_sets = [known for known in (candidate_set, live_set) if known]
    remaining, contaminated = unknown_to(held_out, known_sets)
    if contaminated:
        notes.append(
            f"{contaminated} held-out photos are left out: {live.name} was trained on them"
        )
    trained_on = [example for known in known_sets for example in known.ads_of("train")]
    ads = unknown_ads(content.ads_of("held_out"), trained_on)
    return _HeldOut(digest, remaining, tuple(notes), ads, read_mask_labels(database))


def _of_ads() -> list[Task]:
    """The installed tasks that learn from ads."""
    return [task for task in all_tasks() if task.fit_ads is not None]


def _of_masks() -> list[Task]:
    """The installed tasks that answer masks."""
    return [task for task in all_tasks() if task.mask_of is not None]


def _training_set_of(stores: Stores, release: RegisteredRelease) -> TrainingSet | None:
    digest = release.manifest["metrics"].get("training_set")
    if digest is None:
        return None
    try:
        return stores.training.load(str(digest))
    except ConfigurationError:
        return None  # trained elsewhere, or its set was deleted; the caller adds a note


def _contenders(
    database: Database,
    stores: Stores,
    settings: Settings,
    pair: tuple[RegisteredRelease, RegisteredRelease],
    held_out: _HeldOut,
    on_progress: StepProgress,
) -> tuple[_Contender, _Contender]:
    from resources.inference.loading import new_embedder

    renditions = {e.photo.sha256: e.photo.rendition_sha256 for e in held_out.examples}
    renditions |= {photo: rend for e in held_out.ads for photo, rend in e.ad.photos}
    shared = pair[0].backbone == pair[1].backbone
    contenders: list[_Contender] = []
    for known in pair:
        release = stores.releases.load(known.digest)
        vectors = read_embeddings(database, known.backbone, list(renditions))
        missing = {sha: rend for sha, rend in renditions.items() if sha not in vectors}
        embedder = new_embedder(release.backbone, settings) if missing or not shared else None
        if embedder is not None and missing:
            vectors |= embed_renditions(
                stores.photos,
                missing,
                embedder,
                release.manifest.preprocessing,
                on_progress=on_progress,
                what=f"embedding held-out photos for {known.name}",
            )
        contenders.append(_Contender(known, release, vectors, None if shared else embedder))
    return contenders[0], contenders[1]


def _judged(
    pair: tuple[_Contender, _Contender],
    held_out: _HeldOut,
    stores: Stores,
    on_progress: StepProgress,
) -> tuple[Judged, Judged]:
    """Measure both releases on the photos that have a vector under both."""
    on_progress("judging", 0, 1)
    both = [e for e in held_out.examples if all(e.photo.sha256 in c.vectors for c in pair)]
    ads = [e for e in held_out.ads if all(has_vectors(e, c.vectors) for c in pair)]
    of_ads = _of_ads()
    names = {task.name for task in of_ads}
    latencies = _latencies_ms(pair)
    candidate, live = (
        Judged(
            name=one.known.name,
            tasks={
                task: _measures(one, pair, task, both)
                for task in one.known.tasks
                if task not in names
            },
            of_ads={
                task.name: _own_measures(one, task, ads)
                for task in of_ads
                if task.name in one.release.heads
            }
            | {
                task.name: mask_measures(
                    task, one.release.heads[task.name], held_out.masks, stores.photos
                )
                for task in _of_masks()
                if task.name in one.release.heads and held_out.masks
            },
            latency_ms=latency_ms,
            memory_mb=_weights_mb(one.release),
            fine_tuned=_fine_tuned(one.known),
        )
        for one, latency_ms in zip(pair, latencies, strict=True)
    )
    on_progress("judging", 1, 1)
    return candidate, live


def _fine_tuned(known: RegisteredRelease) -> dict[str, tuple[float, float]]:
    """By task the accuracies of a fine-tuned backbone and of the one before, by its manifest."""
    metrics = known.manifest["metrics"]
    return {
        task: (metrics["tasks"][task]["held_out"]["accuracy"], before)
        for task, before in metrics.get("accuracy_before_tuning", {}).items()
    }


def _measures(
    one: _Contender, pair: Sequence[_Contender], task: str, examples: Sequence[Example]
) -> dict[str, object] | None:
    of_task = [example for example in examples if example.photo.task == task]
    if not of_task:
        return None
    truth = [example.photo.label for example in of_task]
    known_labels = {
        label
        for c in pair
        if task in c.release.linear_heads
        for label in c.release.linear_heads[task].labels
    }
    head = one.release.linear_heads.get(task)
    if head is None:
        return None
    rows = np.stack([one.vectors[example.photo.sha256] for example in of_task])
    return measures_over(
        class_probabilities(rows, head),
        head.labels,
        truth,
        sorted(known_labels | set(truth)),
        Thresholds.of(head.config),
    )


def _own_measures(one: _Contender, task: Task, examples: Sequence[AdExample]) -> dict[str, object]:
    usable = task.learns_from
    assert usable is not None
    ads = [as_ad(e, one.vectors) for e in examples if usable(e.ad.fields)]
    return measures_of_ads(task, ads, one.release.heads[task.name])


def _latencies_ms(pair: Sequence[_Contender]) -> list[float | None]:
    """The median time per photo, measured alternately, so that other load affects both."""
    embedders = [one.embedder for one in pair]
    if any(embedder is None for embedder in embedders):
        return [None, None]
    sizes = [one.release.manifest.preprocessing.size for one in pair]
    batches = [[np.zeros((s, s, 3), np.uint8)] * LATENCY_BATCH for s in sizes]
    times: list[list[float]] = [[], []]
    for _ in range(LATENCY_ROUNDS):
        for took, embedder, batch in zip(times, embedders, batches, strict=True):
            assert embedder is not None
            started = time.perf_counter()
            embedder.embed(batch)
            took.append((time.perf_counter() - started) * 1e3 / LATENCY_BATCH)
    return [statistics.median(took) for took in times]


def _weights_mb(release: Release) -> float:
    """The size of the backbone's and the heads' weights as float32, in MB.

    Independent of how they are stored: a session runs both releases in the same precision. Networks
    that are files are left out: they are of tasks after the path, in a process of their own.
    """
    heads = sum(
        head.weight.size + head.bias.size
        if isinstance(head, Head)
        else sum(tensor.size for tensor in head.tensors.values() if tensor.dtype != np.uint8)
        for head in release.heads.values()
    )
    return 4 * (sum(w.size for w in release.backbone_state.values()) + heads) / 1e6
