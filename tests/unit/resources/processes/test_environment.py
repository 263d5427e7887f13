"""Where libraries keep their caches."""

import os
from pathlib import Path

import pytest

from resources.processes.environment import cache_folders

HOME = Path("/var/lalafo")
BELOW_HOME = {
    "XDG_CACHE_HOME": "/var/lalafo/cache",
    "MPLCONFIGDIR": "/var/lalafo/cache/matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "/var/lalafo/cache/torchinductor",
}


def test_a_home_that_can_be_written_is_used(tmp_path: Path) -> None:
    """Caches stay where the user has them already."""
    assert cache_folders(HOME, {"HOME": str(tmp_path)}) == {}


@pytest.mark.parametrize("home", ["/nonexistent", "relative"])
def test_without_a_home_to_write_caches_are_below_lalafo_home(home: str) -> None:
    """HOME is missing, or no path."""
    assert cache_folders(HOME, {"HOME": home}) == BELOW_HOME


def test_a_user_without_account_and_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written to a folder named ~ in the current folder."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_folders(HOME, {}) == BELOW_HOME


def test_what_the_environment_names_stays() -> None:
    """A variable that is set already is not replaced."""
    given = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/cache"}
    assert "XDG_CACHE_HOME" not in cache_folders(HOME, given)
