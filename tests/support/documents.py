"""The project's documents: their fenced blocks, in order, with their places."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, without the indentation of a list around it."""

    document: str  # below the root: docs/api.md
    line: int  # of its opening fence
    language: str
    text: str

    @property
    def first(self) -> str:
        """The first line, which identifies it in a table of tests."""
        return self.text.splitlines()[0]

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {self.first}"


def document_names() -> list[str]:
    """Every document that describes the present: the records of decisions and changes do not."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    names = sorted(path.relative_to(ROOT).as_posix() for path in found)
    return [name for name in names if name != "CHANGELOG.md"]


def blocks_of(document: str, *languages: str) -> list[Block]:
    """The blocks of a document in their order; of some languages, if any are given."""
    text = (ROOT / document).read_text()
    blocks = [
        Block(
            document,
            text.count("\n", 0, match.start()) + 1,
            match["language"],
            textwrap.dedent(match["text"]),
        )
        for match in _FENCE.finditer(text)
    ]
    return [block for block in blocks if languages == () or block.language in languages]


def all_blocks(*languages: str) -> list[Block]:
    """The blocks of every document."""
    return [block for name in document_names() for block in blocks_of(name, *languages)]


def prose_of(document: str) -> str:
    """A document without its blocks."""
    return _FENCE.sub("", (ROOT / document).read_text())
