"""The shipped starter is verified, small, and accurate on drawn goods of other seeds."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lalafo_assets.starter import FOLDER, load_starter
from lalafo_assets.synthetic.photos import CATEGORIES, generate
from lalafo_assets.synthetic.samples import FOLDER as FOLDER_OF_SAMPLES
from lalafo_assets.synthetic.samples import SAMPLES
from ops.errors import ConfigurationError
from ops.photos.rendition import make_rendition

FILES = ("manifest.json", "backbone.safetensors", "heads.safetensors")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(FOLDER / name, tmp_path / name)
    return tmp_path


def test_is_a_complete_release_of_at_most_eight_megabytes():
    release = load_starter()
    assert release.manifest.backbone == "mobilenet_v3_small"
    assert release.heads["category"].labels == CATEGORIES
    assert release.manifest.metrics["accuracy"] >= 0.95
    assert sum((FOLDER / name).stat().st_size for name in FILES) <= 8_000_000
    assert load_starter().manifest.digest == release.manifest.digest


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_altered_file_is_refused(copy: Path, name: str):
    assert load_starter(copy).manifest.digest == load_starter().manifest.digest
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(ConfigurationError):
        load_starter(copy)
    (copy / name).unlink()
    with pytest.raises(ConfigurationError, match=name):
        load_starter(copy)


def test_classifies_drawn_goods_of_another_seed():
    photos = list(generate(len(CATEGORIES) * 2, seed=41))
    answers = answers_of([photo.data for photo in photos])
    right = np.mean([a == photo.category for a, photo in zip(answers, photos, strict=True)])
    assert right >= 0.9  # at least 0.95 on thousands; 58 photos leave room for chance


def test_names_every_sample_of_the_page():
    """The first thing that a newcomer tries on the page is answered correctly."""
    shipped = [(FOLDER_OF_SAMPLES / f"{name}.jpg").read_bytes() for name in SAMPLES]
    assert answers_of(shipped) == list(SAMPLES)


def answers_of(photos: list[bytes]) -> list[str]:
    """The starter's best category of each photo."""
    from ops.models.embed import Embedder, prepare
    from ops.models.heads import class_probabilities

    release = load_starter()
    embedder = Embedder(release.backbone, device="cpu", threads=1, mode="eager")
    images = [
        prepare(make_rendition(photo, max_pixels=50_000_000).data, release.manifest.preprocessing)
        for photo in photos
    ]
    head = release.heads["category"]
    best = class_probabilities(embedder.embed(images), head).argmax(axis=1)
    return [head.labels[index] for index in best]


def test_training_gives_a_loadable_backbone_and_is_reproducible():
    from lalafo_assets.starter.data import draw
    from lalafo_assets.starter.training import Recipe, Stage, train
    from ops.models.backbones import Backbone
    from ops.models.release import Preprocessing

    drawings = draw(58, seed=5, side=64, workers=1)
    assert len(drawings) == 58 and drawings.images.shape == (58, 64, 64, 3)
    assert np.bincount(drawings.categories, minlength=len(CATEGORIES)).tolist() == [2] * 29
    recipe = Recipe(stages=(Stage(32, 32), Stage(64, 32)), batch=16)
    states = [train(drawings, recipe, Preprocessing(), bf16=False).state() for _ in range(2)]
    backbone = Backbone("mobilenet_v3_small")
    backbone.load(states[0])
    for name, value in states[0].items():
        assert np.isfinite(value).all()
        np.testing.assert_allclose(value, states[1][name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_an_untrained_starter_is_refused():
    from lalafo_assets.starter.train import compact, with_head
    from ops.models.backbones import Backbone
    from ops.models.release import Preprocessing

    state = compact(Backbone("mobilenet_v3_small").state())
    with pytest.raises(ConfigurationError, match=r"below 0\.95"):
        with_head(state, Preprocessing(size=32), head_photos=58, judged=29, workers=1)


def test_the_backbone_of_an_earlier_training_is_reused(tmp_path: Path):
    from argparse import Namespace

    from lalafo_assets.starter.train import trained

    shutil.copy(FOLDER / "backbone.safetensors", tmp_path)
    release = load_starter()
    state = trained(tmp_path, Namespace(), release.manifest.preprocessing)
    assert state.keys() == release.backbone_state.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["backbone.safetensors"]


@pytest.mark.parametrize("arguments", [["--round", "2"], ["--start", "somewhere"]])
def test_a_later_round_requires_start(arguments: list[str], tmp_path: Path):
    from lalafo_assets.starter import train as train_starter

    with pytest.raises(SystemExit):
        train_starter.main(["--out", str(tmp_path), *arguments])
