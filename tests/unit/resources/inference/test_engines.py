"""The engine that a host chose: measured once, kept, verified before use."""

import json
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError
from ops.models.backbones import Backbone
from ops.models.release import FrozenBackbone, Preprocessing
from resources.inference import engines
from resources.inference.engines import prepared_engine, recorded_choices
from resources.inference.loading import new_embedder
from resources.settings import Settings

DIGEST = "ab" * 32
pytestmark = pytest.mark.slow  # a child process converts and measures


@pytest.fixture(scope="module")
def backbone() -> FrozenBackbone:
    torch.manual_seed(0)
    state = Backbone("resnet18").state()
    return FrozenBackbone("resnet18", state, Preprocessing(size=32), DIGEST)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, backbone: FrozenBackbone) -> Path:
    """A home in which the backbone was measured."""
    folder = tmp_path_factory.mktemp("home")
    prepared_engine(backbone, folder)
    return folder


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring would fail."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the backbone is measured again")

    monkeypatch.setattr(subprocess, "run", refused)


def folder_of(home: Path) -> Path:
    (folder,) = (home / "cache" / "engines").glob("resnet18-*")
    return folder


def test_a_backbone_is_measured_once(home: Path, backbone: FrozenBackbone, no_child: None) -> None:
    """Later sessions read the choice and the conversion; no weights and no pickle are kept."""
    again = prepared_engine(backbone, home)
    assert recorded_choices(home) == {f"resnet18-{DIGEST[:12]}": again.choice}
    names = {path.name for path in folder_of(home).iterdir()}
    assert names == {"record.json", "model.xml", "model.bin"}
    record = json.loads((folder_of(home) / "record.json").read_text())
    assert record["host"]["openvino"] and record["host"]["torch"] == torch.__version__.split("+")[0]


def test_the_embedder_has_the_chosen_engine(
    home: Path, backbone: FrozenBackbone, no_child: None
) -> None:
    """And the rows of a named one agree with it."""
    settings = Settings(home=home, device="cpu")
    assert settings.model_mode == "auto"
    chosen = new_embedder(backbone, settings)
    assert chosen.mode == recorded_choices(home)[f"resnet18-{DIGEST[:12]}"].engine
    eager = new_embedder(backbone, settings.model_copy(update={"model_mode": "eager"}))
    assert eager.mode == "eager"
    images = list(np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), np.uint8))
    rows = chosen.embed(images).astype(np.float32)
    assert (rows * eager.embed(images)).sum(axis=1).min() > 0.999


@pytest.mark.parametrize("harm", ["altered", "cut", "deleted", "no record", "old record"])
def test_bytes_that_are_not_those_that_were_written_are_not_used(
    home: Path, backbone: FrozenBackbone, harm: str, no_child: None, tmp_path: Path
) -> None:
    """Whatever happened to the files: the backbone is measured again instead."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    file, record = folder_of(tmp_path) / "model.bin", folder_of(tmp_path) / "record.json"
    data = bytearray(file.read_bytes())
    if harm == "altered":
        data[1000] ^= 1
        file.write_bytes(data)
    elif harm == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif harm == "deleted":
        file.unlink()
    elif harm == "no record":
        record.unlink()
    else:
        record.write_text(json.dumps({**json.loads(record.read_text()), "schema": 0}))
    with pytest.raises(AssertionError, match="measured again"):
        prepared_engine(backbone, tmp_path)


def test_an_altered_conversion_is_replaced(
    home: Path, backbone: FrozenBackbone, tmp_path: Path
) -> None:
    """The next session finds the good one; what a killed process left is deleted."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    file = folder_of(tmp_path) / "model.bin"
    killed = tmp_path / "cache" / "engines" / "new-abc"
    killed.mkdir()
    good = file.read_bytes()
    file.write_bytes(good[::-1])
    assert prepared_engine(backbone, tmp_path).converted.constants == good == file.read_bytes()
    assert not killed.exists()


def test_of_two_sessions_one_measures(
    tmp_path: Path, backbone: FrozenBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other waits, and reads what the first has written."""
    run, started = subprocess.run, []

    def counted(*arguments: object, **options: object) -> object:
        started.append(arguments)
        return run(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", counted)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(prepared_engine(backbone, tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert found[0].choice == found[1].choice


def test_another_processor_or_version_measures_again(
    home: Path, backbone: FrozenBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home on a shared disk serves hosts of several kinds."""
    host = engines.host_facts()
    monkeypatch.setattr(engines, "host_facts", lambda: {**host, "openvino": "1.0"})
    assert recorded_choices(home) == {}


def test_a_home_that_can_t_be_written_keeps_nothing(
    tmp_path: Path, backbone: FrozenBackbone
) -> None:
    """The session starts all the same, after it has measured."""
    (tmp_path / "cache").write_text("a file, not a folder")
    assert prepared_engine(backbone, tmp_path).choice.engine in ("traced", "openvino")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_what_openvino_can_t_run_runs_traced(
    tmp_path: Path, backbone: FrozenBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its child process dies of an instruction; only `openvino` by name is an error."""
    monkeypatch.setattr(engines, "CHILD", ("-c", "import os; os.kill(os.getpid(), 4)"))
    settings = Settings(home=tmp_path, device="cpu")
    assert new_embedder(backbone, settings).mode == "traced"
    with pytest.raises(ConfigurationError, match="can't run resnet18 on this machine"):
        new_embedder(backbone, settings.model_copy(update={"model_mode": "openvino"}))
