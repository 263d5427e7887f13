"""A tree of categories: labels are paths such as `shoes/boots`, and inner nodes can be answered.

Owns which node is answered: a category where its probability is high enough, else one of the nodes
above it. A node's probability is the sum of those of the categories below it. Does not depend on
how the thresholds are found (thresholds.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEPARATOR = "/"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least probabilities, in [0, 1], with which a category and an inner node are answered."""

    leaf: float
    parent: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Thresholds | None":
        """Those of a head's settings; None where it has none: its labels are no tree."""
        found = config.get("thresholds")
        return None if found is None else cls(float(found["leaf"]), float(found["parent"]))

    def as_config(self) -> dict[str, Any]:
        """The settings of a head with these thresholds; JSON."""
        return {"thresholds": {"leaf": self.leaf, "parent": self.parent}}


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """The labels cut to `depth` parts: `names` (G,), and for each label its group in [0, G)."""

    depth: int
    names: tuple[str, ...]
    group: NDArray[np.int64]  # (C,)

    def of(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probabilities of the level's nodes, sums over their labels: (A, C) -> (A, G)."""
        grouped = np.zeros((len(scores), len(self.names)))
        for label, group in enumerate(self.group.tolist()):
            grouped[:, group] += scores[:, label]
        return grouped


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """The nodes above a head's C labels.

    A label that others begin with is both a category, for what is in none of the others, and an
    inner node; it is answered as an inner node. What all labels begin with is never answered.

    `nodes`: every answer: the labels, then the I inner nodes, the deepest first, then the nodes of
    the first level, as answers that are not sure. `paths`: their parts from the root; empty where
    the answer is not sure. `levels`: from the first with two nodes, to the labels themselves.
    """

    nodes: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]
    levels: tuple[Level, ...]
    order: NDArray[np.int64]  # (C,) the labels in an order in which those of a node are adjacent
    leaves: NDArray[np.int64]  # numbers of the labels that no other label begins with
    inner_depth: NDArray[np.int64]  # (I,)
    inner_span: NDArray[np.int64]  # (I, 2) first and end of each inner node's labels in `order`
    first_span: NDArray[np.int64]  # (G, 2) the same for the nodes of the first level

    def answers(
        self, scores: NDArray[np.float32], thresholds: Thresholds
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The answer to each row of (A, C) scores as a number of `nodes`, and its probability.

        The best category, where its probability reaches its threshold; else the deepest inner node
        that reaches the threshold of parents; else, as an answer that is not sure, the best node of
        the first level. A row's answer does not depend on the other rows, to the last digit.
        """
        if len(scores) == 0:
            return np.empty(0, np.int64), np.empty(0)
        labels, inner_count = len(self.order), len(self.inner_depth)
        of_leaves = scores[:, self.leaves]
        best = of_leaves.argmax(axis=1)
        node = self.leaves[best]
        probability = of_leaves[np.arange(len(best)), best].astype(np.float64)
        unsure = np.flatnonzero(probability < thresholds.leaf)
        if len(unsure) == 0:
            return node, probability
        # `cumsum` adds from the left to the right, however many rows there are.
        sums = np.zeros((len(unsure), labels + 1))
        np.cumsum(scores[unsure][:, self.order], axis=1, dtype=np.float64, out=sums[:, 1:])
        first = _between(sums, self.first_span)
        best = first.argmax(axis=1)
        node[unsure] = labels + inner_count + best
        probability[unsure] = first[np.arange(len(best)), best]
        if inner_count:
            inner = _between(sums, self.inner_span)
            # Of the nodes that reach the threshold: the deepest, then the most probable.
            rank = np.where(inner >= thresholds.parent, self.inner_depth + inner / 2, -1.0)
            best = rank.argmax(axis=1)
            sure = np.flatnonzero(rank[np.arange(len(best)), best] >= 0)
            node[unsure[sure]] = labels + best[sure]
            probability[unsure[sure]] = inner[sure, best[sure]]
        return node, np.clip(probability, 0.0, 1.0)


def _between(sums: NDArray[np.float64], span: NDArray[np.int64]) -> NDArray[np.float64]:
    return sums[:, span[:, 1]] - sums[:, span[:, 0]]


def is_tree(labels: Sequence[str]) -> bool:
    """Whether labels are paths with an inner node to answer: one above some of them, not all."""
    return len(_inner(labels)) > 0


def is_right(answer: str, label: str) -> bool:
    """Whether an answer is the label, or an inner node above it."""
    return answer == label or label.startswith(answer + SEPARATOR)


def path_of(label: str) -> tuple[str, ...]:
    """The parts of a label from the root; the label itself if one of them would be empty."""
    parts = tuple(label.split(SEPARATOR))
    return (label,) if "" in parts else parts


def ancestor(label: str, depth: int) -> str:
    """The node above a label with `depth` parts; the label itself if it has no more than that."""
    parts = path_of(label)
    return label if len(parts) <= depth else SEPARATOR.join(parts[:depth])


@lru_cache(maxsize=32)
def tree_of(labels: tuple[str, ...]) -> Tree:
    """The tree over a head's labels; labels without a slash give one level and no inner node."""
    order = sorted(
        range(len(labels)), key=lambda number: [*_prefixes(labels[number]), labels[number]]
    )
    inner = sorted(_inner(labels), key=lambda node: (-node.count(SEPARATOR), node))
    levels = _levels(labels)
    above = {node for label in labels for node in _prefixes(label)}
    leaves = [number for number, label in enumerate(labels) if label not in above]
    nodes = (*labels, *inner, *levels[0].names)
    unsure = len(labels) + len(inner)
    return Tree(
        nodes=nodes,
        paths=tuple(path_of(node) if number < unsure else () for number, node in enumerate(nodes)),
        levels=levels,
        order=np.array(order, np.int64),
        leaves=np.array(leaves, np.int64),
        inner_depth=np.array([node.count(SEPARATOR) for node in inner], np.int64),
        inner_span=_spans(labels, order, inner),
        first_span=_spans(labels, order, levels[0].names),
    )


def _inner(labels: Sequence[str]) -> set[str]:
    """The nodes above labels, apart from those that are above all."""
    above = {node for label in labels for node in _prefixes(label)}
    return {node for node in above if not all(is_right(node, label) for label in labels)}


def _prefixes(label: str) -> list[str]:
    """The nodes above a label, from the root."""
    parts = path_of(label)
    return [SEPARATOR.join(parts[:depth]) for depth in range(1, len(parts))]


def _levels(labels: Sequence[str]) -> tuple[Level, ...]:
    levels = []
    for depth in range(1, max(len(path_of(label)) for label in labels) + 1):
        cut = [ancestor(label, depth) for label in labels]
        names = sorted(set(cut))
        if len(names) > 1:
            number = {name: place for place, name in enumerate(names)}
            levels.append(Level(depth, tuple(names), np.array([number[name] for name in cut])))
    return tuple(levels)


def _spans(labels: Sequence[str], order: Sequence[int], nodes: Sequence[str]) -> NDArray[np.int64]:
    first: dict[str, int] = {}
    end: dict[str, int] = {}
    for place, number in enumerate(order):
        for node in (*_prefixes(labels[number]), labels[number]):
            first.setdefault(node, place)
            end[node] = place + 1
    return np.array([(first[node], end[node]) for node in nodes], np.int64).reshape(-1, 2)
