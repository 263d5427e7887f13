"""What training tells Dagster, whoever trained: the assets' own runs, or `lalafo train`.

Decides the metadata of `training_set` and `model_release`, and how a verdict becomes the results
of the gate's checks.
"""

from collections import Counter
from collections.abc import Mapping

import dagster as dg

from lalafo_assets.reports.metadata import Metadata, as_metadata
from lalafo_assets.reports.release import materialisation
from ops.training.gate import ACCURACY, CALIBRATION, COST, MEASURES, RECALL, Finding, Verdict
from resources.dagster.names import MODEL_RELEASE
from resources.storage.photos import PhotoStore
from resources.storage.training_sets import TrainingStore
from resources.training.pictures import release_pictures, set_pictures
from resources.training.train import FrozenSet, Trained

TRAINING_SET = dg.AssetKey("training_set")

_ASKS = {
    ACCURACY: "The candidate is right about as many held-out photos as the live release.",
    RECALL: "It finds each category's photos as often, where enough of them are held out.",
    CALIBRATION: "Its scores mean what they say as well.",
    COST: "It takes no more time and memory than the margins allow.",
}

CHECKS = {measure: f"gate_{measure}" for measure in MEASURES}
"""The gate's checks on `model_release`, by measure."""


def check_specs() -> list[dg.AssetCheckSpec]:
    """The gate, a check a measure; each stops what follows in its run."""
    return [
        dg.AssetCheckSpec(
            CHECKS[measure],
            asset=MODEL_RELEASE,
            blocking=True,
            description=f"{_ASKS[measure]} Else it can't be promoted.",
        )
        for measure in MEASURES
    ]


def set_metadata(frozen: FrozenSet, store: PhotoStore, sets: TrainingStore) -> Metadata:
    """A training set as Dagster shows it."""
    content = frozen.content
    parts = Counter(e.part for e in content.examples)
    sources = Counter(e.photo.source for e in content.examples)
    pieces = Counter(e.group for e in content.examples)
    labels = Counter((e.photo.task, e.photo.label) for e in content.examples)
    return {
        "digest": dg.MetadataValue.text(frozen.digest),
        "file": dg.MetadataValue.url(sets.url(frozen.digest)),
        "photos": dg.MetadataValue.int(len(content.examples)),
        "ads": dg.MetadataValue.int(len({e.photo.key for e in content.examples})),
        "to_train_on": dg.MetadataValue.int(parts["train"]),
        "held_out": dg.MetadataValue.int(parts["held_out"]),
        "labelled_by_people": dg.MetadataValue.int(sources["person"]),
        "labelled_by_sellers": dg.MetadataValue.int(sources["seller"]),
        "pieces": dg.MetadataValue.int(len(pieces)),
        "photos_of_the_largest_piece": dg.MetadataValue.int(max(pieces.values())),
        "labels": dg.MetadataValue.json(
            {f"{task}: {name}": n for (task, name), n in labels.items()}
        ),
        "seed": dg.MetadataValue.int(content.rule.seed),
        "backbone": dg.MetadataValue.text(content.backbone),
        **as_metadata(set_pictures(content, store)),
    }


def release_metadata(trained: Trained, store: PhotoStore, *, live: bool) -> Metadata:
    """A release that was made here as Dagster shows it: what any shows, and how it did."""
    manifest = trained.made.release.manifest
    known: Mapping[str, dg.MetadataValue] = materialisation(manifest, live=live).metadata
    figures: Metadata = {}
    for task, judged in trained.made.tasks.items():
        figures[f"{task}_accuracy"] = dg.MetadataValue.float(judged.held_out["accuracy"])
        error = judged.held_out["calibration_error"]
        figures[f"{task}_calibration_error"] = dg.MetadataValue.float(error)
        for name, value in judged.baselines.items():
            figures[f"{task}_{name}"] = dg.MetadataValue.float(value)
        if judged.left_out:
            figures[f"{task}_left_out"] = dg.MetadataValue.text(", ".join(judged.left_out))
    return {
        **known,
        "training_set": dg.MetadataValue.text(trained.training_set),
        **figures,
        **{
            f"{task}_not_learned": dg.MetadataValue.text(w)
            for task, w in trained.not_learned.items()
        },
        **as_metadata(release_pictures(trained, store)),
    }


def check_results(verdict: Verdict) -> list[dg.AssetCheckResult]:
    """The gate's checks, as a run gives them."""
    return [
        dg.AssetCheckResult(
            asset_key=MODEL_RELEASE,
            check_name=CHECKS[finding.measure],
            passed=finding.passed,
            description=on_progress(finding),
            metadata=_figures(verdict, finding),
        )
        for finding in verdict.findings
    ]


def check_evaluations(verdict: Verdict) -> list[dg.AssetCheckEvaluation]:
    """The same for a report without a run."""
    return [
        dg.AssetCheckEvaluation(
            asset_key=MODEL_RELEASE,
            check_name=CHECKS[finding.measure],
            passed=finding.passed,
            description=on_progress(finding),
            metadata=_figures(verdict, finding),
            blocking=True,
        )
        for finding in verdict.findings
    ]


def on_progress(finding: Finding) -> str:
    """What a check says: what is wrong, else what was compared."""
    return finding.message if finding.passed else "; ".join(finding.why)


def _figures(verdict: Verdict, finding: Finding) -> dict[str, dg.MetadataValue]:
    return {
        "release": dg.MetadataValue.text(verdict.name),
        "against": dg.MetadataValue.text(verdict.against or "nothing is live"),
        **{name: dg.MetadataValue.float(round(float(v), 4)) for name, v in finding.figures.items()},
        **({"notes": dg.MetadataValue.text("; ".join(verdict.notes))} if verdict.notes else {}),
    }
