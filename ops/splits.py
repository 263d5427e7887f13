"""Which photos a model is trained on and which it is judged by.

Decides that neither an ad nor an exact duplicate is on both sides, and that the split depends on
contents, never on order.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Row numbers, ascending, disjoint, together all rows: int64."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


def split_by_group(
    labels: Sequence[str],
    *,
    groups: Sequence[str],
    contents: Sequence[bytes],
    held_out: float = 0.2,
    seed: int = 0,
) -> Split:
    """Hold out about that share of each label's photos.

    Photos that share a group (the ad) or a content (SHA-256 of the bytes) stay together, also
    through others. Which are held out is decided by SHA-256 of the seed and their contents: the
    same photos in another order split alike. A label whose photos are all of one piece has none
    held out.

    Raises:
        ConfigurationError: the lengths differ, or `held_out` is not between 0 and 1.
    """
    if not len(labels) == len(groups) == len(contents):
        raise ConfigurationError(
            f"A split needs as many groups ({len(groups)}) and contents ({len(contents)}) as "
            f"labels ({len(labels)})."
        )
    if not 0 < held_out < 1:
        raise ConfigurationError(f"held_out={held_out}: want a share between 0 and 1.")
    pieces = _pieces(groups, contents)
    by_label: dict[str, list[tuple[bytes, list[int]]]] = defaultdict(list)
    for rows in pieces:
        label, _ = min(Counter(labels[r] for r in rows).items(), key=lambda c: (-c[1], c[0]))
        first = min(contents[r] for r in rows)
        rank = hashlib.sha256(b"%d:" % seed + first).digest()
        by_label[label].append((rank, rows))
    chosen: list[int] = []
    for ranked in by_label.values():
        chosen += _take(ranked, held_out)
    judged = np.zeros(len(labels), dtype=bool)
    judged[chosen] = True
    return Split(train=np.flatnonzero(~judged), held_out=np.flatnonzero(judged))


def _take(ranked: Iterable[tuple[bytes, list[int]]], share: float) -> list[int]:
    """Rows of the pieces first in rank, up to the share; one piece at least stays for training."""
    ordered = [rows for _, rows in sorted(ranked)]
    wanted = max(1, round(share * sum(len(rows) for rows in ordered)))
    taken: list[int] = []
    for rows in ordered[:-1]:
        if len(taken) + len(rows) <= wanted or not taken:
            taken += rows
    return taken


def _pieces(groups: Sequence[str], contents: Sequence[bytes]) -> list[list[int]]:
    """Rows joined by a shared group or content, as a union of sets."""
    parent = list(range(len(groups)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    seen: dict[str | bytes, int] = {}
    for row, keys in enumerate(zip(groups, contents, strict=True)):
        for key in keys:
            parent[root(row)] = root(seen.setdefault(key, row))
    pieces: dict[int, list[int]] = defaultdict(list)
    for row in range(len(groups)):
        pieces[root(row)].append(row)
    return list(pieces.values())
