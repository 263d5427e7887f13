"""Mixing heads: not worse than the live head with few labels, independent of it with many."""

import numpy as np
import pytest

from ops.models.heads import class_probabilities
from ops.models.release import Head
from ops.training.blend import Mix, Trial, blend, choose_mix, folds
from ops.training.make_release import LabelledRows, judge_head

CENTRES = np.random.default_rng(0).normal(size=(4, 32))
NAMES = ("bag", "chair", "lamp", "shoe")


def photos(count, seed, names=NAMES, noise=1.6):
    """Overlapping classes as unit float16 rows, and their labels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(names), count)
    rows = CENTRES[[NAMES.index(names[t]) for t in truth]] + noise * rng.normal(size=(count, 32))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return LabelledRows(rows.astype(np.float16), [names[t] for t in truth])


def random_head(labels=NAMES, seed=1):
    rng = np.random.default_rng(seed)
    return Head(
        "category",
        labels,
        *(rng.normal(size=s).astype(np.float32) for s in ((len(labels), 32), len(labels))),
    )


def accuracy(head, of):
    predicted = class_probabilities(of.rows, head).argmax(axis=1)
    return np.mean([head.labels[p] == t for p, t in zip(predicted, of.labels, strict=True)])


def test_a_share_of_zero_or_one_is_one_head_alone():
    """The probabilities are those of that head."""
    new, old = random_head(seed=1), random_head(seed=2)
    rows = photos(50, 3).rows
    for share, alone in ((0.0, old), (1.0, new)):
        mixed = blend(new, old, Mix(share, 1.0, 0.0))
        expected = class_probabilities(rows, alone)
        assert class_probabilities(rows, mixed) == pytest.approx(expected, abs=1e-4)


def test_logits_are_mixed_by_the_share():
    """Log-odds are the weighted mean of those of both heads, times the sharpness."""
    new, old = random_head(seed=1), random_head(seed=2)
    rows = photos(20, 3).rows

    def odds(head):
        p = np.log(class_probabilities(rows, head).astype(np.float64))
        return p[:, 1:] - p[:, :1]

    mixed = odds(blend(new, old, Mix(0.3, 1.5, 0.0)))
    assert mixed == pytest.approx(1.5 * (0.3 * odds(new) + 0.7 * odds(old)), abs=1e-3)


def test_a_label_of_one_head_alone_is_kept():
    """A category that the catalogue lacks now is kept, and a new one is learned."""
    new, old = random_head(("bag", "chair", "rug")), random_head(("bag", "chair", "lamp"))
    assert blend(new, old, Mix(0.5, 1.0, 0.0)).labels == ("bag", "chair", "lamp", "rug")
    assert blend(new, random_head(("x", "y")), Mix(0.5, 1.0, 0.0)) is new
    nothing = photos(5, 1, names=("shoe",))
    assert choose_mix([Trial(new, nothing.rows, nothing.labels)], old) is None
    assert choose_mix([], old) is None


def test_few_labels_do_not_degrade_a_good_live_head():
    """With forty photos after hundreds, a new head alone is worse, and a mixed one is not."""
    live = judge_head("category", photos(800, 1), photos(200, 2), baseline=False).head
    unseen = photos(1_000, 9)
    lost_alone, lost = [], []
    for seed in range(1):
        few = photos(40, 10 + seed)
        alone = judge_head("category", few, unseen, baseline=False).head
        started = judge_head("category", few, unseen, live=live, baseline=False).head
        lost_alone.append(accuracy(live, unseen) - accuracy(alone, unseen))
        lost.append(accuracy(live, unseen) - accuracy(started, unseen))
    assert np.mean(lost_alone) > 0.02
    assert np.mean(lost) < 0.01
    assert np.mean(lost) < 0.3 * np.mean(lost_alone)


def test_with_many_labels_a_bad_live_head_has_a_small_share():
    """A random live head has almost no share."""
    unseen = photos(500, 9)
    alone = judge_head("category", photos(800, 3), unseen, baseline=False)
    started = judge_head("category", photos(800, 3), unseen, live=random_head(), baseline=False)
    assert started.fit["share_of_live_head"] < 0.2
    assert accuracy(started.head, unseen) > accuracy(alone.head, unseen) - 0.02


def test_a_fold_depends_on_the_group_alone():
    """Four folds of similar size, with whole groups, in any order of rows."""
    groups = [str(n // 2) for n in range(4_000)]
    fold_of = folds(groups, 0)
    assert np.bincount(fold_of).min() > 900 and len(np.bincount(fold_of)) == 4
    assert np.array_equal(fold_of[::2], fold_of[1::2])
    assert np.array_equal(folds(groups[::-1], 0), fold_of[::-1])
    assert not np.array_equal(folds(groups, 1), fold_of)
