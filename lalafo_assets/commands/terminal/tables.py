"""Tables that fit the terminal: as a table where every row fits in one line, else row by row.

Owns the choice, which is that of psql's `\\x auto`: names, digests and commands are never cut or
broken over two lines, so that they can be copied. Only prose wraps, at its blanks. Does not know
what the tables are about.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

Cell = str | Text
"""A string is shown as it is; it has no markup."""

SHORTEST_PROSE = 24
GAP = 2  # between columns
_WORD = re.compile(r"(?:`[^`\n]*`|\S)+")


@dataclass(frozen=True, slots=True)
class Col:
    """A column of a table. `prose` may wrap at its blanks."""

    name: str
    justify: Literal["left", "right"] = "left"
    prose: bool = False


def print_table(
    console: Console,
    columns: Sequence[Col | str],
    rows: Iterable[Sequence[Cell]],
    *,
    title: str = "",
) -> None:
    """Print rows as a table if it fits the console's width, else each row as a block of lines."""
    cols = [Col(col) if isinstance(col, str) else col for col in columns]
    texts = [[_text(cell) for cell in row] for row in rows]
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    if _fits(console, cols, texts):
        console.print(_table(cols, texts))
        return
    for number, row in enumerate(texts):
        if number:
            console.print()
        print_facts(console, [(c.name, t) for c, t in zip(cols, row, strict=True) if t.plain])


def print_facts(
    console: Console, facts: Iterable[tuple[str, Cell]], *, title: Cell = "", indent: int = 0
) -> None:
    """Print named values below each other; prose wraps beside the names, words never break."""
    for line in facts_lines(console.width, facts, title=title, indent=indent):
        console.print(line, soft_wrap=True, highlight=False)


def facts_lines(
    width: int, facts: Iterable[tuple[str, Cell]], *, title: Cell = "", indent: int = 0
) -> list[Text]:
    """Return named values as lines for a terminal of this width."""
    listed = [(name, _text(value)) for name, value in facts]
    heading = _text(title).copy()
    heading.stylize("bold")
    lines = [heading] if heading.plain else []
    names = max((len(name) for name, _ in listed), default=0) + 2
    room = max(SHORTEST_PROSE, width - names - indent)
    for name, value in listed:
        for number, line in enumerate(wrapped(value, room)):
            start = " " * indent + (name if number == 0 else "").ljust(names)
            lines.append(Text.assemble((start, "bold"), line))
    return lines


def wrapped(text: Cell, width: int) -> list[Text]:
    """Wrap at blanks; a longer word, and a command between backticks, stays in one line."""
    lines: list[Text] = []
    for line in _text(text).split("\n", allow_blank=True):
        breaks, start, end = [], 0, 0
        for word in _WORD.finditer(line.plain):
            if cell_len(line.plain[start : word.end()]) > width and end > start:
                start = word.start()
                breaks.append(start)
            end = word.end()
        parts = line.divide(breaks)
        for part in parts:
            part.rstrip()
        lines += parts
    return lines


def print_error(console: Console, message: str) -> None:
    """Print an error for people: wrapped on a terminal, one line elsewhere."""
    text = Text.assemble(("lalafo:", "red"), " ", message)
    lines = wrapped(text, console.width) if console.file.isatty() else [text]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _text(cell: Cell) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _fits(console: Console, cols: Sequence[Col], rows: Sequence[Sequence[Text]]) -> bool:
    needed = 0
    for number, col in enumerate(cols):
        longest = max((_longest_line(row[number]) for row in rows), default=0)
        if col.prose:
            words = max((_longest_word(row[number]) for row in rows), default=0)
            longest = max(words, min(longest, SHORTEST_PROSE))
        needed += max(longest, len(col.name))
    return needed + GAP * (len(cols) - 1) <= console.width


def new_table() -> Table:
    """Return an empty table as all commands draw them; for where `print_table` does not fit."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, GAP - 1, 0, 0))


def _table(cols: Sequence[Col], rows: Sequence[Sequence[Text]]) -> Table:
    table = new_table()
    for col in cols:
        table.add_column(col.name, justify=col.justify, no_wrap=not col.prose, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _longest_line(text: Text) -> int:
    return max((line.cell_len for line in text.split("\n")), default=0)


def _longest_word(text: Text) -> int:
    return max((len(word) for word in text.plain.split()), default=0)
