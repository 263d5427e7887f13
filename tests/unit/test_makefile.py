"""The Makefile: what it says before it installs, and in which folders it works.

GNU make and `python -m venv` are real. In pip's place stands a module that installs nothing from
the network: it writes the command `lalafo`, whose first lines name the environment as pip's do.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = """my 'photos' of "things" `a` #1 100%"""

PIP = """
import json, os, pathlib, sys
bin = pathlib.Path(sys.prefix, "bin")
print("Collecting torch", sys.argv[1:])
lalafo = bin / "lalafo"
lalafo.write_text(f'''#!/bin/sh
\\'\\'\\'exec' "{bin}/python" "$0" "$@"
' \\'\\'\\'
import json, sys
print(json.dumps(sys.argv[1:]))
''')
lalafo.chmod(0o755)
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs GNU make")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what the Makefile reads, in a path with a space and other characters."""
    folder = tmp_path / "a b" / "Мой 'проект' #1 100%? &(x)"
    folder.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    pip = tmp_path / "instead" / "pip"
    pip.mkdir(parents=True)
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text(PIP)
    # The environment's own pip is not used, and takes 10 s to install.
    python = tmp_path / "instead" / "python"
    python.write_text(
        f"""#!/bin/sh
[ "$1 $2" = "-m venv" ] && shift 2 && exec "{sys.executable}" -m venv --without-pip "$@"
exec "{sys.executable}" "$@"
"""
    )
    python.chmod(0o755)
    return folder


def make(checkout: Path, *arguments: str, **environment: str) -> str:
    """What make prints; it must succeed."""
    instead = next(p / "instead" for p in checkout.parents if (p / "instead").is_dir())
    ended = subprocess.run(
        ["make", f"PYTHON={instead / 'python'}", *arguments],
        cwd=checkout,
        env={**_environment(), "PYTHONPATH": str(instead), **environment},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def _environment() -> dict[str, str]:
    left_out = ("npm_", "MAKE", "PIP_", "LALAFO_", "VIRTUAL_ENV", "PYTHON")
    return {k: v for k, v in os.environ.items() if not k.startswith(left_out)}


def lalafo_arguments(output: str) -> Sequence[str]:
    (line,) = [it for it in output.splitlines() if it.startswith("[")]
    return list(json.loads(line))


@pytest.mark.slow
def test_a_moved_or_copied_checkout_makes_its_environment_anew(checkout: Path) -> None:
    """Else: `exec: …/.venv/bin/python: not found`, or another checkout's code."""
    output = make(checkout, "demo", f"PHOTOS={PHOTOS}", "WEIGHTS=file:my weights.safetensors")
    assert lalafo_arguments(output) == [
        *("demo", "--photos", PHOTOS),
        *("--weights", "file:my weights.safetensors"),
    ]
    assert "Collecting torch" in output, "pip's progress is shown"
    assert "Collecting" not in make(checkout, "demo"), "once is enough"

    moved = checkout.rename(checkout.with_name("moved"))
    output = make(moved, "demo", "EXIT=1")
    assert ".venv does not work: this checkout was moved or copied. It is made anew." in output
    assert lalafo_arguments(output) == ["demo", "--exit"]
    assert "Collecting" not in make(moved, "demo")

    copied = moved.with_name("copied")
    shutil.copytree(moved, copied, symlinks=True)
    assert "was moved or copied" in make(copied, "demo")
    assert str(moved) not in (copied / ".venv" / "bin" / "lalafo").read_text()

    (moved / ".venv" / "bin" / "python").unlink()
    (moved / ".venv" / "bin" / "python").symlink_to("/nonexistent/python3")
    assert "the Python that it was made with is gone" in make(moved, "demo")


@pytest.mark.slow
def test_it_says_what_it_will_install_before_it_does(checkout: Path, tmp_path: Path) -> None:
    """The size, the time and the free space; and where there is no GPU, how to do with less."""
    gpu = tmp_path / "bin"
    gpu.mkdir()
    (gpu / "nvidia-smi").write_text("#!/bin/sh\n")
    (gpu / "nvidia-smi").chmod(0o755)
    output = make(checkout, "demo", PATH=f"{gpu}:{os.environ['PATH']}")
    before, _, after = output.partition("Collecting torch")
    for expected in ("GB of disk", "minutes", "Free here: "):
        assert expected in before
    assert "CPU builds" not in before
    assert "Installed: " in after
    if not Path("/dev/nvidia0").exists() and shutil.which("nvidia-smi") is None:
        shutil.rmtree(checkout / ".venv")
        assert "index of CPU builds in PIP_EXTRA_INDEX_URL" in make(checkout, "demo")


def test_the_default_goal_installs_nothing_and_says_what_the_others_do(checkout: Path) -> None:
    """Nor does a dry run; its commands can be pasted as they stand."""
    assert "installs .venv, up to 7 GB: 3 minutes or more" in make(checkout)
    output = make(checkout, "-n", "demo", f"PHOTOS={PHOTOS}")
    line = output.splitlines()[-1].removeprefix(".venv/bin/lalafo")
    pasted = subprocess.run(
        ["bash", "-c", f'printf "%s\\n" {line}'], capture_output=True, text=True, check=True
    )
    assert pasted.stdout.splitlines() == ["demo", "--photos", PHOTOS]
    assert not (checkout / ".venv").exists()


def test_npm_s_cache_is_here_where_home_can_t_be_written(checkout: Path) -> None:
    """npm would not even start."""
    show = '--eval=show: ; @echo "cache: $$npm_config_cache"'
    here = f"cache: {checkout}/node_modules/.cache/npm\n"
    assert make(checkout, show, "show", HOME="/nonexistent") == here
    assert make(checkout, show, "show", HOME=str(checkout)) == "cache: \n"


@pytest.mark.slow
def test_an_index_of_cpu_builds_is_used_for_the_pair(tmp_path: Path) -> None:
    """The real pip, with the project's constraints: both CPU builds, and no CUDA package.

    The wheels here hold nothing but their names, versions and requirements.
    """
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.startswith(("torch==", "torchvision==", "nvidia-cudnn-cu13=="))
    )
    torch, torchvision = pins["torch"], pins["torchvision"]
    cudnn = f"nvidia-cudnn-cu13=={pins['nvidia-cudnn-cu13']}"
    _wheel(tmp_path, "nvidia_cudnn_cu13", pins["nvidia-cudnn-cu13"])
    for build, requires in (("", [cudnn]), ("+cpu", [])):
        _wheel(tmp_path, "torch", f"{torch}{build}", *requires)
        _wheel(tmp_path, "torchvision", f"{torchvision}{build}", f"torch=={torch}")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    command += ["--no-index", "--find-links", str(tmp_path), "--constraint"]
    command += [str(ROOT / "constraints.txt"), "torch", "torchvision"]
    ended = subprocess.run(command, env=_environment(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found = ended.stdout.splitlines()[-1]
    assert found == f"Would install torch-{torch}+cpu torchvision-{torchvision}+cpu"


def _wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {it}" for it in requires]
        wheel.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        tags = ["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any"]
        wheel.writestr(f"{info}/WHEEL", "\n".join(tags) + "\n")
        wheel.writestr(f"{info}/RECORD", "")


PASSES_ALONE = """
import os
import pytest

def test_that_is_disturbed():
    assert "PYTEST_XDIST_WORKER" not in os.environ, "other tests kept the cores busy"

def test_that_passes():
    pass
"""
FAILS_ALWAYS = """
def test_that_fails():
    assert 1 == 2
"""


@pytest.mark.parametrize("fails", [False, True], ids=["passes alone", "fails alone too"])
def test_what_fails_beside_other_tests_runs_once_more_alone(tmp_path: Path, fails: bool) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "test_disturbed.py").write_text(PASSES_ALONE + (FAILS_ALWAYS if fails else ""))
    (tmp_path / "ready").touch()
    here = ("STAMP=ready", "VENV_FAULT=", f"BIN={Path(sys.executable).parent}", "WORKERS=1")
    ended = subprocess.run(
        ["make", *here, "test"],
        cwd=tmp_path,
        env={k: v for k, v in _environment().items() if not k.startswith("PYTEST")},
        capture_output=True,
        text=True,
    )
    assert "FAILED test_disturbed.py::test_that_is_disturbed" in ended.stdout
    assert "PASSED test_disturbed.py::test_that_is_disturbed" in ended.stdout
    assert "PASSED test_disturbed.py::test_that_passes" not in ended.stdout
    assert ("passed alone" in ended.stdout) is not fails
    assert (ended.returncode != 0) is fails, ended.stdout + ended.stderr
