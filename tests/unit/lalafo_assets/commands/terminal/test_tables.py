"""Tables that fit: one line a row, or row by row; nothing that is copied is cut or broken."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from lalafo_assets.commands.terminal.tables import (
    Col,
    print_error,
    print_facts,
    print_table,
    wrapped,
)

NAME = "mobilenet_v3_small-0123456789ab"
COMMAND = "`lalafo rescore mobilenet_v3_small-0123456789ab`"
PROSE = "recall of 'lamp' fell by more than the margin, and the calibration error rose"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(width: int, *columns: Col | str, row: tuple[str, ...]) -> list[str]:
    console = Console(file=io.StringIO(), width=width, _environ={})
    print_table(console, columns, [row, row])
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_a_table_where_every_row_fits() -> None:
    """A head, a rule, and one line a row."""
    found = printed(60, "release", Col("ads", "right"), row=(NAME, "12"))
    assert [line.split() for line in (found[0], *found[2:])] == [
        ["release", "ads"],
        *([NAME, "12"],) * 2,
    ]


def test_row_by_row_where_it_does_not_fit() -> None:
    """As psql's `\\x auto`: names and values below each other; a row's blanks are left out."""
    found = printed(40, "release", "gate", "re-score", row=(NAME, "passed", ""))
    block = [f"release  {NAME}", "gate     passed"]
    assert [line.rstrip() for line in found] == [*block, "", *block]


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_nothing_is_cut_and_no_word_breaks(width: int) -> None:
    """Whatever the width: the name and the command stand in one line each, the prose is whole."""
    found = printed(width, "release", Col("why", prose=True), "next", row=(NAME, PROSE, COMMAND))
    text = "\n".join(found)
    assert "…" not in text and text.count(NAME) == 4 and text.count(COMMAND) == 2
    assert all(len(line) <= max(width, len(COMMAND) + 9) for line in found)
    words = set(text.replace("\n", " ").split())
    assert set(PROSE.split()) <= words


def test_facts_wrap_beside_their_names() -> None:
    """Prose goes on below itself; a title stands above."""
    console = Console(file=io.StringIO(), width=40, _environ={})
    print_facts(console, [("gate", PROSE), ("days", Text("2/3", style="red"))], title=NAME)
    found = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert found[0] == NAME
    assert found[1].startswith("gate  recall") and found[2].startswith("      ")
    assert found[-1] == "days  2/3" and all(len(line) <= 40 for line in found)


def test_wrapping_keeps_lines_styles_and_blank_lines() -> None:
    """Line breaks of the text stay; the text's styles move with it."""
    text = Text.assemble("one two ", ("three four", "red"), "\n\nfive")
    found = wrapped(text, 9)
    assert [line.plain for line in found] == ["one two", "three", "four", "", "five"]
    assert found[1].spans and found[2].spans and not found[4].spans
    assert wrapped("", 9)[0].plain == ""


@pytest.mark.parametrize("message", ["[red]no such ad[/]", "a [/nonsense] b", "x\n  y"])
def test_an_error_is_printed_as_it_is(message: str) -> None:
    """It is text and no markup: square brackets neither vanish nor fail."""
    console = Console(file=io.StringIO(), width=80, _environ={})
    print_error(console, message)
    assert console.file.getvalue() == f"lalafo: {message}\n"  # type: ignore[attr-defined]


def test_an_error_wraps_on_a_terminal_and_its_command_does_not() -> None:
    """In a file or pipe it stays one line, for grep."""
    message = f"{PROSE}: run {COMMAND}"
    terminal = Console(file=Terminal(), width=60, no_color=True, _environ={"TERM": "xterm"})
    print_error(terminal, message)
    found = terminal.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(found) > 1 and all(len(line) <= 60 for line in found)
    assert sum(COMMAND in line for line in found) == 1
    pipe = Console(file=io.StringIO(), width=60, _environ={})
    print_error(pipe, message)
    assert pipe.file.getvalue() == f"lalafo: {message}\n"  # type: ignore[attr-defined]
