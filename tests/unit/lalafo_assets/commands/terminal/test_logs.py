"""Log records: in the log file of the home, on standard error with -v, never in the console."""

import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from lalafo_assets.commands.terminal import logs
from lalafo_assets.commands.terminal.logs import configure_logs, log_file, use_home
from tests.unit.lalafo_assets.commands.terminal.test_ending import clean_environment


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home, and logging as it was before once the test has ended."""
    root, names = logging.getLogger(), ("", *logs.NOISY)
    before = root.handlers[:], [logging.getLogger(name).level for name in names]
    monkeypatch.setattr(logs, "_home", None)
    with warnings.catch_warnings():
        use_home(tmp_path)
        yield tmp_path
    for handler in root.handlers:
        handler.close()
    logging.captureWarnings(False)
    logging.raiseExceptions = True
    root.handlers[:] = before[0]
    for name, level in zip(names, before[1], strict=True):
        logging.getLogger(name).setLevel(level)


def written() -> str:
    path = log_file()
    return path.read_text() if path is not None and path.exists() else ""


def log_one_of_each() -> None:
    """A record of each library that would print, one of the project, and a warning of Python."""
    logging.getLogger("alembic.runtime.migration").info("Running upgrade 0010 -> 0011")
    logging.getLogger("dagster").error("a step failed")
    logging.getLogger("kafka.conn").warning("connection refused")
    logging.getLogger("kafka.conn").info("connecting")
    structlog.get_logger("ops.models").warning("photo_refused", reason="truncated")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("an old call", DeprecationWarning, stacklevel=1)


def test_records_go_to_the_file_of_the_home(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records of libraries and the project, and warnings; the console stays as it is."""
    configure_logs()
    log_one_of_each()
    for part in ("0010 -> 0011", "a step failed", "refused", "photo_refused", "an old call"):
        assert part in written(), part
    assert "connecting" not in written()  # a record for each attempt
    assert capsys.readouterr() == ("", "")
    assert log_file() == home / "logs" / "lalafo.log"


def test_verbose_shows_them_on_standard_error_as_well(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """-v from INFO on, -vv from DEBUG on."""
    configure_logs(1)
    log_one_of_each()
    out, errors = capsys.readouterr()
    assert out == "" and "photo_refused" in errors and "connecting" not in errors
    assert "0010 -> 0011" in errors and "photo_refused" in written()
    configure_logs(2)
    log_one_of_each()
    assert "connecting" in capsys.readouterr().err


def test_our_own_errors_reach_the_person(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, with where the whole record is; the traceback is in the file."""
    configure_logs()
    try:
        raise ValueError("odd")
    except ValueError:
        structlog.get_logger("resources.upkeep").error("upkeep_failed", exc_info=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert "upkeep_failed" in line and str(log_file()) in line
    assert "ValueError: odd" in written()


def test_no_folder_is_made_for_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no home, as before the first start, records are dropped."""
    monkeypatch.setattr(logs, "_home", tmp_path / "nothing")
    assert log_file() is None
    handler = logs._HomeLog()
    handler.emit(logging.makeLogRecord({"msg": "x"}))
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder `logs` is a file."""
    (tmp_path / "logs").write_text("")
    monkeypatch.setattr(logs, "_home", tmp_path)
    logs._HomeLog().emit(logging.makeLogRecord({"msg": "x"}))


PROGRAM = """
import logging, os, sys, warnings
sys.argv = ["lalafo", *sys.argv[1:]]
import lalafo_assets.commands.settings as settings
listed = settings.listed
def noisy(*args):
    logging.getLogger("alembic").warning("leaked")
    warnings.warn("leaked")
    return listed(*args)
settings.listed = noisy
from lalafo_assets.cli import main
main()
"""


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_switch_works_before_and_after_the_command(tmp_path: Path, place: str) -> None:
    """`lalafo -v settings` and `lalafo settings -v`; without it nothing is on the console."""

    def run(*arguments: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            capture_output=True,
            text=True,
            env=clean_environment(tmp_path),
            check=True,
        )
        return done.stdout, done.stderr

    quiet = run("settings", "home")
    assert "leaked" not in quiet[0] + quiet[1] and quiet[1] == ""
    assert (tmp_path / "logs" / "lalafo.log").read_text().count("leaked") >= 2
    out, errors = run(*(["-v", "settings"] if place == "before" else ["settings", "-v"]), "home")
    assert "leaked" not in out and errors.count("leaked") >= 2
