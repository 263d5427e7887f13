"""Which photos a model is trained on and which it is judged by.

Decides that neither an ad, nor an exact duplicate, nor a group of photos that are nearly alike is
on both sides, and that the split depends on contents, never on order.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
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
    connected = _connected([groups, contents])
    by_label: dict[str, list[tuple[bytes, list[int]]]] = defaultdict(list)
    for rows in connected:
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


def split_for_growth(
    labels: Sequence[str],
    *,
    joined_by: Sequence[Sequence[Hashable]],
    contents: Sequence[bytes],
    held_out: float = 0.2,
    seed: int = 0,
) -> tuple[Split, tuple[bytes, ...]]:
    """Hold out about that share of photos, each by its own piece alone: for a set that grows.

    Photos that share a key of any kind in `joined_by` (ad, content, near-duplicate group) are one
    piece, also through others, and stay together. A piece is named by the first of its contents,
    and held out if SHA-256 of the seed and that name is small: what other photos there are makes
    no difference, so that a photo that one release was trained on is not what its successor is
    judged by. Two exceptions, for labels of few pieces: the first in rank is held out where none
    is, if another is left to train on; the last in rank is trained on where all are held out.

    Returns: the split, and the piece of each row: a SHA-256 of contents, 32 bytes.

    Raises:
        ConfigurationError: the lengths differ, or `held_out` is not between 0 and 1.
    """
    if {len(contents), *map(len, joined_by)} != {len(labels)}:
        raise ConfigurationError(
            f"A split needs as many keys ({[len(k) for k in joined_by]}) and contents "
            f"({len(contents)}) as labels ({len(labels)})."
        )
    if not 0 < held_out < 1:
        raise ConfigurationError(f"held_out={held_out}: want a share between 0 and 1.")
    by_label: dict[str, list[tuple[bytes, list[int]]]] = defaultdict(list)
    names: list[bytes] = [b""] * len(labels)
    for rows in _connected([*joined_by, contents]):
        name = min(contents[r] for r in rows)
        for row in rows:
            names[row] = name
        label, _ = min(Counter(labels[r] for r in rows).items(), key=lambda c: (-c[1], c[0]))
        by_label[label].append((hashlib.sha256(b"%d:" % seed + name).digest(), rows))
    limit = int(held_out * 2**64)
    judged = np.zeros(len(labels), dtype=bool)
    for ranked in by_label.values():
        ordered = sorted(ranked)
        count = sum(int.from_bytes(rank[:8]) < limit for rank, _ in ordered)
        for _, rows in ordered[: min(max(count, 1), len(ordered) - 1)]:
            judged[rows] = True
    return Split(np.flatnonzero(~judged), np.flatnonzero(judged)), tuple(names)


def _connected(joined_by: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Rows joined by a shared key of one kind, as a union of sets."""
    parent = list(range(len(joined_by[0])))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for keys in joined_by:
        seen: dict[Hashable, int] = {}
        for row, key in enumerate(keys):
            parent[root(row)] = root(seen.setdefault(key, row))
    groups: dict[int, list[int]] = defaultdict(list)
    for row in range(len(parent)):
        groups[root(row)].append(row)
    return list(groups.values())
