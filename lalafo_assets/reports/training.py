"""The metadata and check results that training reports to Dagster.

Shared by the runs of the assets and by `lalafo train`. Owns the metadata of `training_set` and
`model_release`, and the conversion of a verdict to the results of the gate's checks.
"""

from collections import Counter
from collections.abc import Mapping

import dagster as dg

from lalafo_assets.reports.metadata import Metadata
from lalafo_assets.reports.pictures import as_metadata
from lalafo_assets.reports.release import materialization
from ops.models.categories.measures import tree_figures
from ops.training.verdict import (
    ACCURACY,
    CALIBRATION,
    COST,
    MEASURES,
    OWN,
    RECALL,
    Finding,
    Verdict,
)
from resources.dagster.names import MODEL_RELEASE
from resources.storage.photos import PhotoStore
from resources.storage.training_sets import TrainingStore
from resources.training.pictures import release_pictures, set_pictures
from resources.training.train import FrozenSet, Trained

TRAINING_SET = dg.AssetKey("training_set")

_REQUIREMENTS = {
    ACCURACY: "The candidate's accuracy on held-out photos is within the margin of the live one's.",
    RECALL: "The candidate's recall of each category with enough held-out photos is within the "
    "margin of the live release's.",
    CALIBRATION: "The candidate's calibration error is within the margin of the live release's.",
    OWN: "What tasks measure themselves, such as the error of prices, is within the margins that "
    "they declare.",
    COST: "The candidate takes no more time and memory than the margins allow.",
}

CHECKS = {measure: f"gate_{measure}" for measure in MEASURES}
"""The names of the gate's checks on `model_release`, by measure."""


def check_specs() -> list[dg.AssetCheckSpec]:
    """Return the gate's checks, one per measure; each blocks the rest of its run."""
    return [
        dg.AssetCheckSpec(
            CHECKS[measure],
            asset=MODEL_RELEASE,
            blocking=True,
            description=f"{_REQUIREMENTS[measure]} Otherwise it can't be promoted.",
        )
        for measure in MEASURES
    ]


def set_metadata(frozen: FrozenSet, store: PhotoStore, sets: TrainingStore) -> Metadata:
    """Return the metadata of a training set."""
    content = frozen.content
    parts = Counter(e.part for e in content.examples)
    sources = Counter(e.photo.source for e in content.examples)
    groups = Counter(e.group for e in content.examples)
    labels = Counter((e.photo.task, e.photo.label) for e in content.examples)
    return {
        "digest": dg.MetadataValue.text(frozen.digest),
        "file": dg.MetadataValue.url(sets.url(frozen.digest)),
        "photos": dg.MetadataValue.int(len(content.examples)),
        "ads": dg.MetadataValue.int(len({e.photo.key for e in content.examples})),
        "train": dg.MetadataValue.int(parts["train"]),
        "held_out": dg.MetadataValue.int(parts["held_out"]),
        "labelled_by_people": dg.MetadataValue.int(sources["person"]),
        "labelled_by_sellers": dg.MetadataValue.int(sources["seller"]),
        "whole_ads": dg.MetadataValue.int(len(content.ads)),
        "groups": dg.MetadataValue.int(len(groups)),
        "photos_in_largest_group": dg.MetadataValue.int(max(groups.values())),
        "labels": dg.MetadataValue.json(
            {f"{task}: {name}": n for (task, name), n in labels.items()}
        ),
        "seed": dg.MetadataValue.int(content.rule.seed),
        "backbone": dg.MetadataValue.text(content.backbone),
        **as_metadata(set_pictures(content, store), frozen.digest),
    }


def release_metadata(trained: Trained, store: PhotoStore, *, live: bool) -> Metadata:
    """Return the metadata of a release that was trained here.

    It adds measures on held-out photos, baselines and pictures to the metadata of any release.
    """
    manifest = trained.made.release.manifest
    known: Mapping[str, dg.MetadataValue] = materialization(manifest, live=live).metadata
    figures: Metadata = {}
    for task, judged in trained.made.tasks.items():
        figures[f"{task}_accuracy"] = dg.MetadataValue.float(judged.held_out["accuracy"])
        figures[f"{task}_accuracy_in_words"] = dg.MetadataValue.text(str(judged.accuracy))
        for name, text in tree_figures(judged.held_out):
            figures[f"{task}_{name.replace(' ', '_')}"] = dg.MetadataValue.text(text)
        behind = judged.behind_baseline
        if behind is not None:
            figures[f"{task}_behind_baseline"] = dg.MetadataValue.text(behind)
        error = judged.held_out["calibration_error"]
        figures[f"{task}_calibration_error"] = dg.MetadataValue.float(error)
        for name, value in judged.baselines.items():
            figures[f"{task}_{name}"] = dg.MetadataValue.float(value)
        if judged.left_out:
            labels = dg.MetadataValue.text(", ".join(judged.left_out))
            figures[f"{task}_labels_left_out"] = labels
    for task, of_ads in trained.made.of_ads.items():
        for name, measure in of_ads.held_out.items():
            if isinstance(measure, int | float):
                figures[f"{task}_{name}"] = dg.MetadataValue.float(float(measure))
    return {
        **known,
        "training_set": dg.MetadataValue.text(trained.training_set),
        **figures,
        **{
            f"{task}_not_trained": dg.MetadataValue.text(why)
            for task, why in trained.not_learned.items()
        },
        **as_metadata(release_pictures(trained, store), manifest.name),
    }


def check_results(verdict: Verdict) -> list[dg.AssetCheckResult]:
    """Return the gate's check results for a run to yield."""
    return [
        dg.AssetCheckResult(
            asset_key=MODEL_RELEASE,
            check_name=CHECKS[finding.measure],
            passed=_shown_as_passed(finding),
            severity=_severity(finding),
            description=_description(finding),
            metadata=_figures(verdict, finding),
        )
        for finding in verdict.findings
    ]


def check_evaluations(verdict: Verdict) -> list[dg.AssetCheckEvaluation]:
    """Return the gate's check evaluations to report outside a run."""
    return [
        dg.AssetCheckEvaluation(
            asset_key=MODEL_RELEASE,
            check_name=CHECKS[finding.measure],
            passed=_shown_as_passed(finding),
            severity=_severity(finding),
            description=_description(finding),
            metadata=_figures(verdict, finding),
            blocking=True,
        )
        for finding in verdict.findings
    ]


def _shown_as_passed(finding: Finding) -> bool:
    """Whether Dagster shows a tick: not for a measure that was not judged."""
    return finding.passed and finding.judged


def _severity(finding: Finding) -> dg.AssetCheckSeverity:
    """ERROR ends a run at a blocking check; a measure that was not judged is a warning."""
    return dg.AssetCheckSeverity.ERROR if finding.why else dg.AssetCheckSeverity.WARN


def _description(finding: Finding) -> str:
    """Return the reasons of a failed check, or what a passed one compared."""
    return finding.message if finding.passed else "; ".join(finding.why)


def _figures(verdict: Verdict, finding: Finding) -> dict[str, dg.MetadataValue]:
    return {
        "release": dg.MetadataValue.text(verdict.name),
        "against": dg.MetadataValue.text(verdict.against or "none: no release is live"),
        **{name: dg.MetadataValue.float(round(float(v), 4)) for name, v in finding.figures.items()},
        **({"notes": dg.MetadataValue.text("; ".join(verdict.notes))} if verdict.notes else {}),
    }
