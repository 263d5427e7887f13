"""The sizes that `lalafo doctor` shows are those on the disk."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from lalafo_assets.commands.doctor import Diagnosis, Grade, diagnose
from lalafo_assets.stack import disk
from lalafo_assets.stack.disk import folder_bytes, home_space, package_bytes


def test_a_folder_s_bytes_are_those_of_its_files(tmp_path: Path) -> None:
    """Below it too; a link's target and a sparse file's holes are not counted."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"x" * 1_000_000)
    (tmp_path / "link").symlink_to(tmp_path / "below")
    os.truncate(_touched(tmp_path / "sparse"), 50_000_000)
    assert folder_bytes(tmp_path) == pytest.approx(1_000_000, abs=20_000)
    assert folder_bytes(tmp_path / "nowhere") == 0


def test_a_home_that_does_not_exist_yet_is_measured_where_it_will_be(tmp_path: Path) -> None:
    space = home_space(tmp_path / "a b" / "home")
    assert (space.place, space.writable, space.taken_bytes) == (tmp_path, True, 0)
    assert space.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


@pytest.mark.parametrize("home", ["file", "file/below"])
def test_a_file_is_no_home(home: str, tmp_path: Path) -> None:
    _touched(tmp_path / "file")
    assert not home_space(tmp_path / home).writable


def test_the_packages_are_those_of_this_python() -> None:
    folder, total, cuda = package_bytes()
    assert Path(sys.prefix) in (folder, *folder.parents)
    assert total > cuda >= 0


@pytest.mark.slow
def test_doctor_compares_what_is_free_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the home takes already counts; the sizes are in the message."""
    for name in [it for it in os.environ if it.startswith("LALAFO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    found = diagnoses()
    assert found["disk"].grade is Grade.OK
    assert f"GB free at {tmp_path}; the demo needs 4 GB" in found["disk"].found
    assert "LALAFO_HOME takes 0.0 GB so far" in found["disk"].found
    assert f"GB at {package_bytes()[0]}, of which CUDA takes" in found["packages"].found
    monkeypatch.setattr(disk, "DEMO_BYTES", 2 * shutil.disk_usage(tmp_path).free)
    assert diagnoses()["disk"].grade is Grade.FAILED
    monkeypatch.setenv("LALAFO_HOME", str(_touched(tmp_path / "file")))
    assert diagnoses()["LALAFO_HOME"].grade is Grade.FAILED


def diagnoses() -> dict[str, Diagnosis]:
    return {it.subject: it for it in diagnose()}


def _touched(path: Path) -> Path:
    path.touch()
    return path
