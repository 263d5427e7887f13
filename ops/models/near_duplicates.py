"""Groups near-duplicate photos by the similarity of their embeddings.

Owns the similarity measure. Does not depend on the use of the groups. Embeddings of one backbone
have a common component, a large one under a weak backbone, so that the cosine of unrelated photos
may be close to 1. Features are therefore centred and scaled first, so that the differences between
photos are compared. Under the starter backbone, no pair of unrelated photos among 300 drawn ones
reached 0.97, and nine in ten copies that were cropped by 2 %, scaled to 3/4 and compressed again
exceeded 0.98.
"""

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError

_BLOCK_PAIRS = 2**22
_MIN_SPREAD = 0.05  # as a share of the mean; keeps a nearly constant feature from becoming noise


def near_duplicate_groups(
    embeddings: NDArray[np.float16] | NDArray[np.float32],
    *,
    threshold: float,
    block_pairs: int = _BLOCK_PAIRS,
) -> NDArray[np.int64]:
    """The group of each row, named by the number of its first row: (N,) int64.

    Rows whose centred cosine reaches the threshold are in one group, also transitively. Memory
    grows with N x D, not with N²: pairs are compared in blocks. No rows give no groups.

    Args:
        embeddings: (N, D), of one backbone.
        threshold: in (0, 1].

    Raises:
        ConfigurationError: the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise ConfigurationError(f"The cosine threshold is {threshold}, expected (0, 1].")
    root = np.arange(len(embeddings), dtype=np.int64)
    if len(root) == 0:
        return root
    rows = _centred(embeddings)
    step = max(1, block_pairs // len(rows))
    for start in range(0, len(rows), step):
        near = rows[start : start + step] @ rows[start:].T >= threshold
        # First join each row with the first similar row of the block: where there are many pairs,
        # most of them are in one group afterwards.
        hit = np.flatnonzero(near.any(axis=0))
        _join(root, near.argmax(axis=0)[hit] + start, hit + start)
        one, other = np.nonzero(near)
        apart = root[one + start] != root[other + start]
        _join(root, one[apart] + start, other[apart] + start)
    return root


def _centred(embeddings: NDArray[np.float16] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Centred and scaled unit rows (N, D) float32; zero for a row that equals the mean."""
    rows = embeddings.astype(np.float32)
    rows -= rows.mean(axis=0)
    spread = rows.std(axis=0)
    rows /= np.maximum(np.maximum(spread, _MIN_SPREAD * np.sqrt(np.mean(spread**2))), 1e-12)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows


def _join(root: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    """Merge the groups of each pair in place; afterwards every row has its group's first row.

    Works on pairs of groups: where all rows are similar there are N² pairs of rows.
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
    new_root = np.arange(len(root), dtype=np.int64)
    for group in parent:
        new_root[group] = first(group)
    root[:] = new_root[root]
