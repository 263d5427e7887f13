"""Measures a tree of categories on held-out photos: each level, and the answers with a threshold.

Owns the keys of these measures, and how they are said in words.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.models.categories.tree import Thresholds, ancestor, is_right, tree_of


def tree_measures(
    probabilities: NDArray[np.float32],
    truth: Sequence[str],
    labels: tuple[str, ...],
    thresholds: Thresholds,
) -> dict[str, Any]:
    """Measure (N, C) probabilities, N at least 1, against N true labels; JSON values.

    `levels`: [{depth, accuracy}], the share of rows whose most probable node of that level is the
    true one; a label that ends above a level is its own node there. `answers`: `answered`, the
    share of rows with an answer that is sure; `right`, the share of these answers that are the true
    label or a node above it; `full`, the share of rows that are answered with a category and not a
    node above; `full_right`, the share of these that are right. A share of nothing is None.
    """
    tree = tree_of(labels)
    levels = []
    for level in tree.levels:
        best = level.of(probabilities).argmax(axis=1)
        found = [level.names[number] for number in best.tolist()]
        right = [
            name == ancestor(label, level.depth) for name, label in zip(found, truth, strict=True)
        ]
        levels.append({"depth": level.depth, "accuracy": float(np.mean(right))})
    node, _ = tree.answers(probabilities, thresholds)
    answers = [
        (number < len(labels), is_right(tree.nodes[number], label))
        for number, label in zip(node.tolist(), truth, strict=True)
        if tree.paths[number]
    ]
    full = [is_it for is_full, is_it in answers if is_full]
    return {
        "levels": levels,
        "answers": {
            "answered": len(answers) / len(truth),
            "right": _share([is_it for _, is_it in answers]),
            "full": len(full) / len(truth),
            "full_right": _share(full),
        },
    }


def tree_figures(measures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, value) of what `tree_measures` has added to measures; nothing where it has not."""
    if "levels" not in measures:
        return
    for level in measures["levels"]:
        yield f"level {level['depth']}", f"{level['accuracy']:.1%}"
    answers = measures["answers"]
    yield "answered", f"{answers['answered']:.1%}, of these {_percent(answers['right'])} right"
    yield (
        "answered in full",
        f"{answers['full']:.1%}, of these {_percent(answers['full_right'])} right",
    )


def _share(right: Sequence[bool]) -> float | None:
    return sum(right) / len(right) if right else None


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"
