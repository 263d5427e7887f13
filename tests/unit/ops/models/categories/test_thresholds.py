"""Thresholds are as low as they may be for nine answers of ten to be right."""

import numpy as np

from ops.models.categories.measures import tree_figures, tree_measures
from ops.models.categories.thresholds import find_thresholds, right_answers
from ops.models.categories.tree import Thresholds, tree_of

LABELS = tuple(f"{group}/{kind}" for group in "abcde" for kind in ("x", "y", "z"))


def photos(count, seed, *, group_noise=0.1, kind_noise=0.4):
    """Calibrated probabilities of categories whose kinds are harder to know than their groups."""
    rng = np.random.default_rng(seed)
    groups = (rng.normal(size=(count, 5)) / group_noise).repeat(3, axis=1)
    logits = groups + rng.normal(size=(count, 15)) / kind_noise
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    truth = [LABELS[rng.choice(15, p=row)] for row in p]
    return p.astype(np.float32), truth


def test_nine_of_ten_answers_are_right_on_other_photos():
    """Of the categories that are answered, and of the nodes above them; and most are answered."""
    found = find_thresholds(LABELS, *photos(1_500, 0))
    p, truth = photos(6_000, 1)
    tree = tree_of(LABELS)
    full = right_answers(tree, p, truth, Thresholds(found.leaf, 2.0))
    both = right_answers(tree, p, truth, found)
    assert full.mean() >= 0.9
    assert both.mean() >= 0.9
    assert len(both) / len(truth) > 0.8 > len(full) / len(truth) > 0.4


def test_easy_photos_are_all_answered_in_full():
    """Where nearly every category is right, the threshold holds none back."""
    p = np.full((400, 15), 0.02 / 14, np.float32)
    truth = [LABELS[row % 15] for row in range(400)]
    p[np.arange(400), np.arange(400) % 15] = 0.98
    measures = tree_measures(p, truth, LABELS, find_thresholds(LABELS, p, truth))
    assert measures["answers"] == {"answered": 1.0, "right": 1.0, "full": 1.0, "full_right": 1.0}


def test_with_few_photos_the_threshold_is_high():
    """Twelve photos can't show nine of ten; then the probability itself must say so."""
    p, truth = photos(12, 2)
    assert find_thresholds(LABELS, p, truth).leaf >= 0.9
    nothing = find_thresholds(LABELS, np.empty((0, 15), np.float32), [])
    assert nothing == Thresholds(0.9, 0.9)
    assert Thresholds.of(nothing.as_config()) == nothing
    assert Thresholds.of({}) is None


def test_every_level_is_measured():
    """By the most probable node of each level; the answers by the thresholds. Counted by hand."""
    labels = ("a/x", "a/y", "b")
    p = np.array([[0.5, 0.4, 0.1], [0.3, 0.25, 0.45], [0.1, 0.05, 0.85], [0.9, 0.1, 0]], np.float32)
    measures = tree_measures(p, ["a/y", "a/x", "a/x", "a/x"], labels, Thresholds(0.8, 0.8))
    assert measures == {
        "levels": [{"depth": 1, "accuracy": 0.75}, {"depth": 2, "accuracy": 0.25}],
        "answers": {"answered": 0.75, "right": 2 / 3, "full": 0.5, "full_right": 0.5},
    }
    assert dict(tree_figures(measures)) == {
        "level 1": "75.0%",
        "level 2": "25.0%",
        "answered": "75.0%, of these 66.7% right",
        "answered in full": "50.0%, of these 50.0% right",
    }
    assert list(tree_figures({"accuracy": 1.0})) == []


def test_labels_the_head_does_not_know_count_as_wrong():
    """A held-out label of another category has no node that is right, or one above it."""
    p = np.array([[0.9, 0.05, 0.05]], np.float32)
    measures = tree_measures(p, ["a/new"], ("a/x", "a/y", "b"), Thresholds(0.8, 0.8))
    assert [level["accuracy"] for level in measures["levels"]] == [1.0, 0.0]
    assert measures["answers"]["right"] == 0.0
