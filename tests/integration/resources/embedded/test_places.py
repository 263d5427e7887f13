"""Where and as whom it runs: each place works, or one line says what to do.

The checkout is copied below a folder with spaces, Cyrillic and what URLs escape, and a user without
an account runs it with umask 077, in the C locale, and with a HOME that can't be written.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import ops
from resources.embedded.account import LIBRARY_FOLDERS
from resources.embedded.postgres import EmbeddedPostgres

NOBODY = 47_114
"""A user id that no account has."""

ROOT = Path(ops.__file__).parents[1]
PACKAGES = ("gateway", "lalafo_assets", "ops", "resources", "sensors", "tests")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux",
    reason="only root can start a process as another user",
)


@pytest.fixture(scope="module")
def place(postgres: EmbeddedPostgres) -> Iterator[Path]:
    """A copy of the checkout, whose folder the user without an account owns.

    `postgres` runs as another user than root, and so the packages can be read by every user.
    """
    with TemporaryDirectory(prefix="lalafo-test-") as folder:
        copy = Path(folder) / "Мой проект, 'v1' 100% #2?"
        for name in PACKAGES:
            unneeded = shutil.ignore_patterns("__pycache__", "target")
            shutil.copytree(ROOT / name, copy / name, ignore=unneeded)
        for path in (Path(folder), copy):
            path.chmod(0o755)
        os.chown(copy, NOBODY, NOBODY)
        yield copy


@pytest.fixture(scope="module")
def python() -> str:
    """A Python of this version that other users may run, as they can't enter root's home."""
    minor = f"python3.{sys.version_info.minor}"
    for found in (os.path.realpath(sys.executable), shutil.which(minor, path="/usr/bin:/bin")):
        command = [found, "-c", "import ssl, sqlite3"]
        if found is not None and _run(command, {}, Path("/")).returncode == 0:
            return found
    pytest.skip(f"there is no {minor} that another user may run")


def _run(
    command: list[str], environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", **environment},
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            umask=0o077,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
    except PermissionError as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))


def score_an_ad(
    python: str, place: Path, home: str, before: str = "", **environment: str
) -> tuple[str, str]:
    """The output and the errors of `place_process` in a place, after some lines of Python."""
    packages = Path(pytest.__file__).parents[1]
    paths = {"PYTHONPATH": f"{place}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"}
    places = {"HOME": "/nonexistent", "LANG": "C", "LC_ALL": "C", **paths, **environment}
    program = f"{before}\nfrom tests.support.place_process import main; main()"
    done = _run([python, "-c", program, home], places, place)
    return done.stdout.strip(), done.stderr.strip()


@pytest.fixture(params=["missing", "not permitted"])
def without_unshare(request: pytest.FixtureRequest) -> Iterator[str]:
    """A PATH on which `unshare` is missing or not permitted, as in most containers."""
    with TemporaryDirectory(prefix="lalafo-test-") as folder:
        Path(folder).chmod(0o755)
        if request.param == "not permitted":
            fake = Path(folder) / "unshare"
            fake.write_text(
                "#!/bin/sh\necho 'unshare: unshare failed: Not permitted' >&2\nexit 1\n"
            )
            fake.chmod(0o755)
        yield folder


def test_an_ad_is_scored_in_an_unusual_place(place: Path, python: str) -> None:
    """PostgreSQL, the broker and a session work, and no file is open to other users."""
    out, errors = score_an_ad(python, place, ".lalafo")
    assert out.splitlines()[-1:] == ["[('kg', '1', 'scored')]"], errors[-2000:]
    home = place / ".lalafo"
    assert (home / "postgres" / "data" / "PG_VERSION").stat().st_uid == NOBODY
    assert [
        path for path in home.rglob("*") if path.stat().st_mode & 0o077 and path.is_file()
    ] == []


def test_nss_wrapper_lends_an_account_where_a_namespace_can_t(
    place: Path, python: str, without_unshare: str
) -> None:
    """The cluster belongs to the user without an account, and an ad is scored."""
    if not any(Path(folder, "libnss_wrapper.so").exists() for folder in LIBRARY_FOLDERS):
        pytest.skip("libnss-wrapper is not installed")
    home = f"wrapped {Path(without_unshare).name}"
    out, errors = score_an_ad(python, place, home, PATH=without_unshare)
    assert out.splitlines()[-1:] == ["[('kg', '1', 'scored')]"], errors[-2000:]
    assert (place / home / "postgres" / "data" / "PG_VERSION").stat().st_uid == NOBODY


def test_a_user_without_an_account_gets_one_line(
    place: Path, python: str, without_unshare: str
) -> None:
    """Where there is neither: what helps, and nothing is left behind."""
    neither = "import resources.embedded.account as it; it.LIBRARY_FOLDERS = ()"
    out, errors = score_an_ad(python, place, "home", neither, PATH=without_unshare)
    assert out == ""
    (line,) = errors.splitlines()
    assert line.startswith(f"lalafo: User id {NOBODY} has no account on this machine")
    assert "apt-get install libnss-wrapper" in line
    assert f"lalafo:x:{NOBODY}:{NOBODY}::/tmp:/bin/sh to /etc/passwd" in line
    assert not (place / "home" / "postgres" / "data").exists()


def test_a_home_that_cannot_be_written_is_named(place: Path, python: str) -> None:
    """One line with the folder and the variable to set."""
    out, errors = score_an_ad(python, place, "/proc/lalafo")
    (line,) = errors.splitlines()
    assert (out, line.startswith("lalafo: /proc/lalafo")) == ("", True)
    assert "set another LALAFO_HOME" in line
