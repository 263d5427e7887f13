"""The release of a demo: a head for a user's classes, or the starter where there are none."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from lalafo_assets.demo.collection import Collection, own_collection
from lalafo_assets.demo.options import DemoOptions
from lalafo_assets.demo.own_photos.survey import survey
from lalafo_assets.demo.release import DemoRelease, make_release
from lalafo_assets.starter import load_starter
from ops.errors import ConfigurationError
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


def test_without_classes_the_starter_is_used(tmp_path: Path) -> None:
    """With its own labels, whatever weights `auto` would have found; there is no accuracy."""
    draw(tmp_path / "photos", 3)
    release = made(tmp_path, weights="auto")
    starter = load_starter()
    assert release.release.manifest.digest == starter.manifest.digest
    rows = dict(release.baselines)
    assert list(rows) == ["known categories"]
    assert rows["known categories"].startswith(f"{len(starter.heads['category'].labels)}, ")


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
