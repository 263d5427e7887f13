"""Exit statuses, and what a person sees of an error: the real command in its own process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lalafo_assets.commands.terminal.ending import run_to_status
from ops.errors import ConfigurationError, LalafoError

LALAFO = [sys.executable, "-m", "lalafo_assets.cli"]


def lalafo(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command without a terminal, on an empty home."""
    return subprocess.run(
        [*LALAFO, *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(home) | environment,
        check=False,
    )


def clean_environment(home: Path) -> dict[str, str]:
    """This environment without what a CI system or a stack sets."""
    unset = ("GITHUB_ACTIONS", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "COLUMNS", "DAGSTER_HOME")
    kept = {k: v for k, v in os.environ.items() if k not in unset and not k.startswith("LALAFO_")}
    return {**kept, "LALAFO_HOME": str(home)}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--version"], 0),
        (["settings"], 0),
        (["results"], 1),
        (["results", "--nope"], 2),
        (["nope"], 2),
        (["releases", "check"], 2),
        (["up", "--only", "nothing"], 2),
        (["promote"], 2),
        (["dlq", "list", "--reason", "event_nope"], 2),
        (["dlq", "list", "--since", "yesterday"], 2),
        (["keys", "make", "shop", "--expires", "soon"], 2),
        (["bench", "gateway", "--only", "nothing"], 2),
    ],
)
def test_the_status_says_what_kind_of_end_it_was(
    tmp_path: Path, arguments: list[str], status: int
) -> None:
    """0 done, 1 failed, 2 wrong usage; never a traceback, and errors go to standard error."""
    done = lalafo(tmp_path, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "\x1b" not in done.stdout + done.stderr
    assert (done.stderr == "") == (status == 0), done.stderr
    assert (done.stdout == "") == (status != 0), done.stdout


@pytest.mark.parametrize("command", [["--help"], ["settings", "home"]])
@pytest.mark.parametrize(
    ("environment", "switch", "has_codes"),
    [
        ({}, [], False),
        ({"TERM": "dumb"}, [], False),
        ({"GITHUB_ACTIONS": "true"}, [], False),
        ({"FORCE_COLOR": "1"}, [], True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, [], False),
        ({"FORCE_COLOR": "1"}, ["--no-color"], False),
    ],
)
def test_colours_in_a_pipe_are_there_only_if_forced(
    tmp_path: Path,
    command: list[str],
    environment: dict[str, str],
    switch: list[str],
    has_codes: bool,
) -> None:
    """NO_COLOR and --no-color win."""
    done = lalafo(tmp_path, *switch, *command, **environment)
    assert done.returncode == 0, done.stderr
    assert ("\x1b" in done.stdout) == has_codes


def test_a_misspelt_command_names_the_nearest(tmp_path: Path) -> None:
    """Typer's suggestion, and where the help is."""
    done = lalafo(tmp_path, "reuslts")
    assert "results" in done.stderr and "--help" in done.stderr


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """`lalafo settings | head -1`: the first line, nothing on standard error, status 141."""
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(LALAFO)} settings | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=clean_environment(tmp_path) | {"PYTHONUNBUFFERED": "1"},
        check=True,
    )
    first, status = done.stdout.splitlines()
    assert first.startswith("LALAFO_HOME=") and status == "141"
    assert done.stderr == ""


def test_output_that_is_written_at_the_end_meets_a_closed_pipe_too(tmp_path: Path) -> None:
    """A short result is still in Python's buffer when the command is done."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*LALAFO, "settings", "home", "--json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(tmp_path),
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_is_130_without_a_traceback(
    tmp_path: Path, number: signal.Signals
) -> None:
    """A command that reads a silent pipe until Ctrl-C or SIGTERM."""
    environment = clean_environment(tmp_path) | {"LALAFO_KAFKA_BOOTSTRAP": "127.0.0.1:9"}
    fifo = tmp_path / "events"
    os.mkfifo(fifo)
    with (
        subprocess.Popen(
            [*LALAFO, "publish", "--gateway", "http://127.0.0.1:9", str(fifo)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process,
        fifo.open("w"),
    ):  # opens once the command has opened it, so it has begun
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LalafoError("no [stack] runs"), 1),
        (ConfigurationError("x"), 1),
        (KeyboardInterrupt(), 130),
        (SystemExit(2), 2),
        (SystemExit(None), 0),
    ],
)
def test_each_error_has_its_status(error: BaseException, status: int) -> None:
    """As the table in the module's docstring has them."""
    assert run_to_status(lambda: _raise(error)) == status


def test_a_fault_of_the_program_is_not_hidden() -> None:
    """Its traceback is what a report of it needs."""
    with pytest.raises(ZeroDivisionError):
        run_to_status(lambda: 1 // 0)
