"""Finds the thresholds of a tree of categories, so that at least 90 % of its answers are right.

Owns the rule. The probabilities are of photos that the head was not fitted on (the validation rows
of cross-validation).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ops.models.categories.tree import Thresholds, Tree, is_right, tree_of

RIGHT = 0.9
"""The share of answers that are to be right: of those that name a category, and of those that name
an inner node."""

_SURE = 1.6449
"""Of the normal distribution, one-sided: the share is at least RIGHT with 95 % confidence. A bound,
not the share itself, as the lowest threshold that fits by chance would be taken otherwise (Geifman
and El-Yaniv 2017, "Selective Classification for Deep Neural Networks")."""

_STEPS = tuple(step / 1_000 for step in range(200, 996, 5))
_NO_LEAF = 1.1  # a threshold that no probability reaches


def find_thresholds(
    labels: tuple[str, ...], probabilities: NDArray[np.float32], truth: Sequence[str]
) -> Thresholds:
    """The lowest thresholds with which the answers are right often enough.

    First that of categories, then that of inner nodes, on the rows that no category is answered
    for. With too few rows to be confident, the lowest from RIGHT on with which the share itself is
    RIGHT; without a row RIGHT, which calibrated probabilities keep on average.

    Args:
        probabilities: (V, C) of rows that the head was not fitted on, columns as `labels`.
        truth: V labels, of `labels`.
    """
    tree = tree_of(labels)

    def of_leaves(step: float) -> NDArray[np.bool_]:
        return right_answers(tree, probabilities, truth, Thresholds(step, _NO_LEAF))

    leaf = _lowest(of_leaves)
    _, best = tree.answers(probabilities, Thresholds(0.0, _NO_LEAF))
    rest = np.flatnonzero(best < leaf)
    labels_of_rest = [truth[row] for row in rest.tolist()]

    def of_parents(step: float) -> NDArray[np.bool_]:
        return right_answers(tree, probabilities[rest], labels_of_rest, Thresholds(_NO_LEAF, step))

    return Thresholds(leaf, _lowest(of_parents))


def right_answers(
    tree: Tree, scores: NDArray[np.float32], truth: Sequence[str], thresholds: Thresholds
) -> NDArray[np.bool_]:
    """Of each answer that is sure, in the order of the rows, whether it is right."""
    node, _ = tree.answers(scores, thresholds)
    return np.array(
        [
            is_right(tree.nodes[number], label)
            for number, label in zip(node.tolist(), truth, strict=True)
            if tree.paths[number]
        ],
        bool,
    )


def _lowest(right_at: Callable[[float], NDArray[np.bool_]]) -> float:
    """The lowest step whose answers are right often enough; RIGHT where none is."""
    shares = [(step, right_at(step)) for step in _STEPS]
    for step, right in shares:
        if len(right) > 0 and _lower_bound(right) >= RIGHT:
            return step
    for step, right in shares:
        if step >= RIGHT and len(right) > 0 and right.mean() >= RIGHT:
            return step
    return RIGHT


def _lower_bound(right: NDArray[np.bool_]) -> float:
    """The lower end of the share's interval (E. B. Wilson 1927)."""
    count, share, square = len(right), float(right.mean()), _SURE**2
    spread = _SURE * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return (share + square / (2 * count) - spread) / (1 + square / count)
