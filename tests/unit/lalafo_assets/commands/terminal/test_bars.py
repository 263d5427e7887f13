"""Progress: bars on a terminal; elsewhere a line for each step, and no control codes."""

import io
import os
import pty
import re
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from lalafo_assets.commands.terminal.bars import Bars, in_words, is_redrawn, new_bars
from lalafo_assets.commands.terminal.steps import Steps


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def redirected(environment: dict[str, str] | None = None) -> Console:
    return Console(file=io.StringIO(), width=200, _environ=environment or {})


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_each_step_is_a_line_with_its_time() -> None:
    """What was done, how many, and how long it took; once, although it is updated again."""
    console, clock = redirected(), Clock()
    with Bars(console=console, get_time=clock) as bars:
        drawing = bars.add_task("drawing photos", total=None)
        clock.now += 4
        bars.update(drawing, completed=250, total=500)
        assert lines(console) == []
        clock.now += 0.5
        bars.update(drawing, completed=500, total=500)
        bars.update(drawing, completed=500)
        fitting = bars.add_task("fitting the head", total=1)
        bars.advance(fitting)
    assert lines(console) == ["drawing photos: 500 in 4.5 s", "fitting the head: 0.0 s"]


def test_a_long_step_reports_while_it_runs() -> None:
    """A line for each step that is running, also for one that has no count."""
    console, clock = redirected(), Clock()
    bars = Bars(console=console, get_time=clock)
    scoring = bars.add_task("scoring", total=206)
    bars.add_task("starting the gateway", total=None)
    bars.update(scoring, completed=17)
    clock.now += 75
    bars.report()
    assert lines(console) == [
        "scoring: 17 of 206, 1 min 15 s so far",
        "starting the gateway: 1 min 15 s so far",
    ]


def test_the_reports_come_by_themselves() -> None:
    """A step that is stuck in one call is reported too: another thread prints."""
    printed = threading.Event()

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            if "so far" in text:
                printed.set()
            return super().write(text)

    with Bars(console=Console(file=Watched(), width=200, _environ={}), report_s=0.01) as bars:
        bars.add_task("loading", total=1)
        assert printed.wait(30)


def test_what_did_not_end_is_said_at_the_end() -> None:
    """A step that was stopped half way says so; one that never began is not listed."""
    console, clock = redirected(), Clock()
    with Bars(console=console, get_time=clock) as bars:
        scoring = bars.add_task("scoring", total=10)
        bars.add_task("photos", total=10)
        bars.update(scoring, completed=3)
        clock.now += 2
    assert lines(console) == ["scoring: 3 of 10, stopped after 2.0 s"]


def test_disabled_bars_print_nothing() -> None:
    """As with --json."""
    console = redirected()
    with new_bars(console, enabled=False) as bars:
        bars.advance(bars.add_task("x", total=1))
    assert lines(console) == []


@pytest.mark.parametrize(
    ("file", "environment", "expected"),
    [
        (Terminal(), {"TERM": "xterm-256color"}, True),
        (Terminal(), {"TERM": "xterm-256color", "NO_COLOR": "1"}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"TERM": "xterm", "TTY_INTERACTIVE": "0"}, False),
        (io.StringIO(), {"TERM": "xterm-256color"}, False),
        (io.StringIO(), {"TERM": "xterm-256color", "FORCE_COLOR": "1"}, False),
    ],
)
def test_bars_are_redrawn_on_terminals_only(
    file: io.StringIO, environment: dict[str, str], expected: bool
) -> None:
    """Not in a file, a pipe or a dumb terminal, not even if colours are forced."""
    console = Console(file=file, _environ=environment)
    assert is_redrawn(console) == expected
    with new_bars(console) as bars:
        bars.advance(bars.add_task("x", total=1))
    has_cursor_codes = re.search(r"\x1b\[[0-9;?]*[A-Zhl]", file.getvalue()) is not None
    assert has_cursor_codes == expected


def test_steps_are_lines_with_their_time() -> None:
    """Each is printed when the next begins; after `finish` messages come at once."""
    console = redirected()
    steps = Steps(console)
    with steps:
        steps("starting PostgreSQL [18]")
        assert lines(console) == []
        steps("starting the gateway")
        assert lines(console) == ["starting PostgreSQL [18]"]
    steps("the gateway ended: starting it again")
    assert lines(console)[1:] == ["starting the gateway", "the gateway ended: starting it again"]


def test_a_step_that_takes_long_has_its_time() -> None:
    """As the bars that it is shown among measure it."""
    console, clock = redirected(), Clock()
    steps = Steps(console, Bars(console=console, get_time=clock))
    steps("migrating the database")
    clock.now += 3.21
    steps.finish()
    assert lines(console) == ["migrating the database (3.2 s)"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 1 s")]
)
def test_times_are_for_people(seconds: float, text: str) -> None:
    """Tenths of a second below a minute, then minutes and seconds."""
    assert in_words(seconds) == text


BARS = """
import sys
from rich.console import Console
from lalafo_assets.commands.terminal.bars import new_bars
with new_bars(Console()) as bars:
    long = bars.add_task("embedding photos to train on, of the whole catalogue", total=12345)
    bars.update(long, completed=6789)
"""


def in_a_pty(program: str, columns: int) -> str:
    """Run a program on a pseudo-terminal of this width, and return its output."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    for name in ("NO_COLOR", "CI", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        environment.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        output = b"".join(iter(lambda: _read(leader), b""))
        assert process.wait() == 0, output
    os.close(leader)
    return output.decode()


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65_536)
    except OSError:  # Linux's answer once the other end is closed
        return b""


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_bar_is_one_line_of_the_terminal(columns: int) -> None:
    """With description, bar, count and time, on a real pseudo-terminal."""
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", in_a_pty(BARS, columns))
    drawn = [line for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert drawn and all(len(line) <= columns for line in drawn), drawn
    assert "━" in drawn[-1] and "6789/12345" in drawn[-1], drawn
    assert drawn[-1].count(":") >= 2  # the time
