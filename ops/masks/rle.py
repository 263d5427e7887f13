"""Masks as COCO's run-length encoding: a size and a text.

The runs are of pixels in columns, from the top left down, alternately outside and inside, beginning
outside; the text is COCO's compressed form of them (`rleToString` in maskApi.c of pycocotools).
Pure Python: the gateway reads masks too. `arrays.py` has masks as arrays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

_BITS, _SIGN, _MORE, _FIRST = 5, 0x10, 0x20, 48
_CHARACTERS = 64
MAX_PIXELS = 640 * 640  # of a mask, as of a rendition


@dataclass(frozen=True, slots=True)
class EncodedMask:
    """A mask of a photo: COCO's `{"size": [height, width], "counts": "…"}`.

    Raises:
        ValueError: the size is none of a photo, or the runs do not cover it exactly.
    """

    height: int
    width: int
    counts: str

    def __post_init__(self) -> None:
        if not (self.height >= 1 and self.width >= 1 and self.pixels <= MAX_PIXELS):
            raise ValueError(f"a mask of {self.width} x {self.height} pixels")
        covered = sum(self.runs)
        if covered != self.pixels:
            raise ValueError(f"the runs of a mask cover {covered} pixels of {self.pixels}")

    @property
    def pixels(self) -> int:
        """How many pixels the photo has."""
        return self.height * self.width

    @property
    def runs(self) -> list[int]:
        """Lengths of runs: outside, inside, outside, …"""
        return parse_counts(self.counts)

    @property
    def area(self) -> int:
        """How many pixels are inside."""
        return sum(self.runs[1::2])

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """(left, top, width, height) of what is inside, in pixels; None: nothing is."""
        left, right, top, bottom, at = self.width, -1, self.height, -1, 0
        for inside, run in zip(cycle((False, True)), self.runs, strict=False):
            if inside and run > 0:
                first, last = divmod(at, self.height), divmod(at + run - 1, self.height)
                left, right = min(left, first[0]), max(right, last[0])
                whole = last[0] > first[0]  # the run goes on at the top of the next column
                top = 0 if whole else min(top, first[1])
                bottom = self.height - 1 if whole else max(bottom, last[1])
            at += run
        return None if right < 0 else (left, top, right - left + 1, bottom - top + 1)

    def as_bytes(self) -> bytes:
        """A byte for each pixel, 255 inside, column by column."""
        values = zip(cycle((b"\0", b"\xff")), self.runs, strict=False)
        return b"".join(value * run for value, run in values)

    def as_coco(self) -> dict[str, Any]:
        """The object of COCO's annotations."""
        return {"size": [self.height, self.width], "counts": self.counts}


def encode_counts(runs: Iterable[int]) -> str:
    """COCO's text of runs."""
    text: list[str] = []
    before: list[int] = []
    for index, run in enumerate(runs):
        rest = run - before[index - 2] if index > 2 else run
        before.append(run)
        more = True
        while more:
            character = rest & (_MORE - 1)
            rest >>= _BITS
            more = rest != (-1 if character & _SIGN else 0)
            text.append(chr((character | _MORE if more else character) + _FIRST))
    return "".join(text)


def parse_counts(text: str) -> list[int]:
    """The runs of COCO's text.

    Raises:
        ValueError: it is no such text.
    """
    runs: list[int] = []
    number, shift = 0, 0
    for character in text:
        code = ord(character) - _FIRST
        if not 0 <= code < _CHARACTERS or shift > 8 * _BITS:
            raise ValueError("these are no counts of a run-length encoding")
        number |= (code & (_MORE - 1)) << shift
        shift += _BITS
        if code & _MORE:
            continue
        if code & _SIGN:
            number |= -1 << shift
        run = number + runs[-2] if len(runs) > 2 else number
        if run < 0:
            raise ValueError("a run has a negative length")
        runs.append(run)
        number, shift = 0, 0
    if shift:
        raise ValueError("the counts of a run-length encoding end within a number")
    return runs
