"""Help pages: grouped, with examples that the real parser accepts, and as wide as the terminal."""

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lalafo_assets.cli import app
from lalafo_assets.commands.terminal.help_pages import HelpPage, page_of
from resources.settings import Settings

ROOT = typer.main.get_command(app)


def commands(command: Any = ROOT, name: str = "lalafo") -> Iterator[tuple[str, Any]]:
    """Every command and group, by its full name."""
    yield name, command
    for part, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {part}")


ALL = dict(commands())
LEAVES = {name: found for name, found in ALL.items() if not hasattr(found, "commands")}


def page(name: str) -> HelpPage:
    found = page_of(ALL[name])
    assert found is not None, f"{name} declares no help page"
    return found


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours are not forced."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def help_of(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = CliRunner().invoke(app, [*name.split()[1:], "--help"])
    assert done.exit_code == 0, done.output
    return done.output


def parse(line: str) -> None:
    """Parse every `lalafo …` of a shell line as the command itself does, without running it."""
    words = shlex.split(line, comments=False)
    while "lalafo" in words:
        words = words[words.index("lalafo") + 1 :]
        ends = [n for n, word in enumerate(words) if word in ("|", ">", "&&", ";")]
        arguments = words[: ends[0]] if ends else words
        context, command = ROOT.make_context("lalafo", list(arguments)), ROOT
        while hasattr(command, "commands"):
            rest = [*context._protected_args, *context.args]
            if not rest:
                assert command.invoke_without_command
                break
            name, command, rest = command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
        for value in context.params.values():  # a file that the parser has opened
            getattr(value, "close", lambda: None)()


def test_the_commands_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run, ads, releases, operate, measure: in this order, each command in one of them."""
    text = help_of("lalafo", 80, monkeypatch)
    panels = ("─ Run ─", "─ Ads ─", "─ Releases ─", "─ Operate ─", "─ Measure ─")
    places = [text.index(panel) for panel in panels]
    assert places == sorted(places) and "─ Commands ─" not in text
    for name in ROOT.commands:  # type: ignore[attr-defined]
        assert re.search(rf"^│ {name} ", text, re.M), name


@pytest.mark.parametrize("name", ["lalafo", *LEAVES])
def test_each_command_teaches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first sentence, what it reads and writes, examples of itself, and its exit statuses."""
    text = help_of(name, 80, monkeypatch)
    declared = page(name)
    assert declared.examples and declared.reads and declared.writes
    for command, does in declared.examples:
        assert command in text and does
        assert name == "lalafo" or name.removesuffix(" list") in command
    for heading in ("Reads ", "Writes ", "Examples", "Exit status", "--verbose", "--no-color"):
        assert heading in text, heading
    for field in declared.settings:
        assert field in Settings.model_fields and f"LALAFO_{field.upper()}" in text
    first = (ALL[name].help or "").split("\n\n")[0]
    assert first.rstrip().endswith("."), first


EXAMPLES = [(name, line) for name in ALL if page_of(ALL[name]) for line, _ in page(name).examples]


@pytest.mark.parametrize(("name", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_each_example_parses(
    name: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real parser accepts it: options exist, arguments are complete, values are valid."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.jsonl").touch()
    (tmp_path / "photos").mkdir()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    if "--install-completion" not in line:  # parsing it would install it
        parse(line)
    assert name.split()[0] == "lalafo"


def test_a_wrong_example_would_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: for an unknown command, option or value, or a missing argument."""
    monkeypatch.chdir(tmp_path)
    for line in ("lalafo nope", "lalafo up --nope", "lalafo train --epochs x", "lalafo keys make"):
        with pytest.raises(Exception, match=r"No such|Missing|valid"):
            parse(line)


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("name", ALL)
def test_a_page_fits_the_terminal(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is longer, but an example that can't be broken; and no control codes in a pipe."""
    text = help_of(name, columns, monkeypatch)
    found = page_of(ALL[name])
    examples = [] if found is None else [command for command, _ in found.examples]
    for line in text.splitlines():
        assert len(line.rstrip()) <= columns or line.strip() in examples, line
    assert "\x1b" not in text


@pytest.mark.parametrize("name", ALL)
def test_a_switch_names_no_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--json <bool>` would ask for a value that it does not take."""
    assert "<bool>" not in help_of(name, 200, monkeypatch)
