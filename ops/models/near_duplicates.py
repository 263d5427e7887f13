"""Which photos show the same thing: joined by the likeness of their embeddings.

Decides the measure; refuses to know what is done with the groups. Photos share a common part under
any backbone, a large one under a weak backbone, so that the plain cosine of unlike photos may be
close to 1. Features are centred and scaled first: what is compared is what sets a photo apart from
the others. Under the starter, of 300 drawn photos no pair of unlike ones came to 0.97; nine in ten
copies that were cropped by 2 %, scaled to 3/4 and compressed again came above 0.98.
"""

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError

_BLOCK_PAIRS = 2**22
_LEAST_SPREAD = 0.05  # of the mean one: a feature that hardly varies would be blown up to noise


def near_duplicate_groups(
    embeddings: NDArray[np.float16] | NDArray[np.float32],
    *,
    threshold: float,
    block_pairs: int = _BLOCK_PAIRS,
) -> NDArray[np.int64]:
    """The group of each row: the number of its first row; alone, its own number. (N,) int64.

    Rows whose centred cosine reaches the threshold share a group, also through others. Memory
    grows with N x D, not with N²: the pairs are looked at in blocks. No rows give no groups.

    Args:
        embeddings: (N, D), of one backbone.
        threshold: in (0, 1].

    Raises:
        ConfigurationError: the threshold is outside of its range.
    """
    if not 0 < threshold <= 1:
        raise ConfigurationError(f"A cosine of {threshold} is no threshold: want (0, 1].")
    root = np.arange(len(embeddings), dtype=np.int64)
    if len(root) == 0:
        return root
    rows = _standing_out(embeddings)
    step = max(1, block_pairs // len(rows))
    for start in range(0, len(rows), step):
        near = rows[start : start + step] @ rows[start:].T >= threshold
        # First each row with the first of the block that it is near: most of many pairs are then
        # within a group already.
        hit = np.flatnonzero(near.any(axis=0))
        _join(root, near.argmax(axis=0)[hit] + start, hit + start)
        one, other = np.nonzero(near)
        apart = root[one + start] != root[other + start]
        _join(root, one[apart] + start, other[apart] + start)
    return root


def _standing_out(embeddings: NDArray[np.float16] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit rows (N, D) float32 of what differs from the mean; zero where nothing does."""
    rows = embeddings.astype(np.float32)
    rows -= rows.mean(axis=0)
    spread = rows.std(axis=0)
    rows /= np.maximum(np.maximum(spread, _LEAST_SPREAD * np.sqrt(np.mean(spread**2))), 1e-12)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows


def _join(root: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    """Join the groups of each pair in place; afterwards every row names its group's first row.

    Pairs of groups rather than of rows: where all rows are alike there are N² of these.
    """
    pairs = np.unique(root[one] * len(root) + root[other])
    parent: dict[int, int] = {}

    def first(of: int) -> int:
        while (above := parent.get(of, of)) != of:
            parent[of] = parent.get(above, above)
            of = above
        return of

    for left, right in zip(
        (pairs // len(root)).tolist(), (pairs % len(root)).tolist(), strict=True
    ):
        a, b = sorted((first(left), first(right)))
        parent[b] = a
    now = np.arange(len(root), dtype=np.int64)
    for joined in parent:
        now[joined] = first(joined)
    root[:] = now[root]
