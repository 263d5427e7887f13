"""Splits labelled photos into a training and a held-out part.

Owns the rules of the split: an ad, exact duplicates and near duplicates are never in both parts,
and the split depends on the contents of photos, not on their order.
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
    """Row numbers, int64 ascending; each row is in exactly one of the two."""

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
    """Hold out about the share `held_out` of each label's photos.

    Photos with the same group (the ad) or the same content (SHA-256 of the bytes) stay together,
    also transitively. The SHA-256 of the seed and the contents selects the held-out ones: the same
    photos in another order are split in the same way. A label whose photos are all connected has
    none held out.

    Raises:
        ConfigurationError: the lengths differ, or `held_out` is not between 0 and 1.
    """
    if not len(labels) == len(groups) == len(contents):
        raise ConfigurationError(
            f"A split needs as many groups and contents as labels: got {len(groups)} groups, "
            f"{len(contents)} contents and {len(labels)} labels."
        )
    if not 0 < held_out < 1:
        raise ConfigurationError(f"held_out is {held_out}, expected a share between 0 and 1.")
    by_label: dict[str, list[tuple[bytes, list[int]]]] = defaultdict(list)
    for rows in _connected([groups, contents]):
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
    """Rows of the first groups by rank, up to the share; at least one group stays for training."""
    ordered = [rows for _, rows in sorted(ranked)]
    target = max(1, round(share * sum(len(rows) for rows in ordered)))
    chosen: list[int] = []
    for rows in ordered[:-1]:
        if len(chosen) + len(rows) <= target or not chosen:
            chosen += rows
    return chosen


def split_for_growth(
    labels: Sequence[str],
    *,
    joined_by: Sequence[Sequence[Hashable]],
    contents: Sequence[bytes],
    held_out: float = 0.2,
    seed: int = 0,
) -> tuple[Split, tuple[bytes, ...]]:
    """Hold out about the share `held_out` of photos, stably while the set grows.

    Photos with the same key of any kind in `joined_by` (ad, content, near duplicates) are in one
    group, also transitively, and stay together. A group is named by the smallest of its contents,
    and held out if SHA-256 of the seed and that name is small. This does not depend on the other
    photos, so that a release is not evaluated on photos that its predecessor was trained on. There
    are two exceptions, for labels with few groups: where no group would be held out, the first by
    rank is, if another remains for training; where all would be held out, the last by rank is used
    for training.

    Returns:
        The split, and the name of each row's group: a SHA-256 of contents, 32 bytes.

    Raises:
        ConfigurationError: the lengths differ, or `held_out` is not between 0 and 1.
    """
    if {len(contents), *map(len, joined_by)} != {len(labels)}:
        raise ConfigurationError(
            f"A split needs as many keys and contents as labels: got {[len(k) for k in joined_by]} "
            f"keys, {len(contents)} contents and {len(labels)} labels."
        )
    if not 0 < held_out < 1:
        raise ConfigurationError(f"held_out is {held_out}, expected a share between 0 and 1.")
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
    """The connected components of rows; rows with an equal key of one kind are connected."""
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
