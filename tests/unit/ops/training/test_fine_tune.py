"""Training and evaluation: on held-out photos, compared with baselines."""

import hashlib
import itertools
import random
from collections import Counter

import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError
from ops.models.backbones import Backbone
from ops.models.categories.measures import tree_measures
from ops.models.categories.tree import Thresholds
from ops.models.fit_head import fit_head
from ops.models.heads import class_probabilities
from ops.models.release import Preprocessing
from ops.training.evaluation import evaluate, logistic_regression_accuracy, majority_accuracy
from ops.training.fine_tune import Phase, TrainingPlan, fine_tune, train_backbone
from ops.training.splits import split_by_group

SMALL = Preprocessing(size=32)


@pytest.fixture(autouse=True)
def one_thread():
    """With several threads on a busy machine, small steps wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def hard_rows(count, *, classes, dimension=64, noise=1.3, uneven=1.0, seed=0):
    """Overlapping classes on features of very different spread, as unit float16 rows."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dimension))
    spread = np.exp(rng.normal(size=dimension) * uneven)
    truth = rng.integers(0, classes, count)
    rows = (0.35 * centres[truth] + noise * rng.normal(size=(count, dimension))) * spread
    rows = np.abs(rows + 2 * rng.normal(size=dimension))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16), [f"class {t:03d}" for t in truth]


def drawn_photos(count, seed=0, size=32):
    """Photos of one of three patterns, which augmentation does not change."""
    rng = np.random.default_rng(seed)
    labels = [("plain", "stripes", "ring")[i % 3] for i in range(count)]
    y, x = np.mgrid[:size, :size]
    patterns = {
        "plain": np.zeros((size, size)),
        "stripes": 100 * ((y // 4) % 2),
        "ring": 100 * (np.abs(np.hypot(x - size / 2, y - size / 2) - size / 4) < 3),
    }
    photos = [
        np.clip(
            60
            + rng.uniform(0, 60)
            + patterns[label][..., None]
            + rng.normal(0, 8, (size, size, 3)),
            0,
            255,
        )
        for label in labels
    ]
    return np.stack(photos).astype(np.uint8), labels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "uneven", "seed"), [(2, 1.5, 0), (10, 0.0, 1), (10, 1.0, 2), (25, 1.5, 3)]
)
def test_head_is_as_good_as_scikit_learns(classes, uneven, seed):
    """On hard data, accuracy is at most 0.01 below scikit-learn's, and scores are calibrated."""
    rows, labels = hard_rows(2_600, classes=classes, uneven=uneven, seed=seed)
    fitted = fit_head(rows[:600], labels[:600], seed=0)
    probabilities = class_probabilities(rows[600:], fitted.head)
    measures = evaluate(probabilities, labels[600:], fitted.head.labels)
    baseline = logistic_regression_accuracy(rows[:600], labels[:600], rows[600:], labels[600:])
    assert measures["accuracy"] >= baseline - 0.01
    assert measures["accuracy"] > majority_accuracy(labels[:600], labels[600:]) + 0.1
    assert measures["calibration_error"] < 0.1
    assert fitted.metrics["rows"] == 600
    assert fitted.metrics["classes"] == classes


def test_same_rows_and_seed_give_the_same_head():
    """The fit is repeatable bit for bit, and the labels are sorted."""
    rows, labels = hard_rows(120, classes=3, dimension=16)
    first, again = fit_head(rows, labels, seed=4), fit_head(rows, labels, seed=4)
    assert np.array_equal(first.head.weight, again.head.weight)
    assert first.head.labels == tuple(sorted(set(labels)))
    assert first.head.weight.dtype == first.head.bias.dtype == np.float32


@pytest.mark.slow
def test_smallest_sets_and_many_classes():
    """Two photos for each class are enough, also with a thousand classes."""
    rng = np.random.default_rng(0)
    for classes in (2, 1_000):
        centres = rng.normal(size=(classes, 32))
        rows = np.concatenate([centres, centres + rng.normal(size=centres.shape, scale=0.05)])
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
        labels = [f"{i:04d}" for i in range(classes)] * 2
        fitted = fit_head(rows, labels)
        head = fitted.head
        answers = class_probabilities(rows, head).argmax(axis=1)
        assert np.mean([head.labels[a] == t for a, t in zip(answers, labels, strict=True)]) > 0.95
        assert fitted.metrics["validation_accuracy"] > 0.95


def test_constant_features_do_no_harm():
    """A constant feature has no weight, and nothing is divided by zero."""
    rows, labels = hard_rows(200, classes=3, dimension=16)
    padded = np.concatenate([rows, np.full((200, 4), 0.25, np.float16)], axis=1)
    head = fit_head(padded, labels).head
    assert np.isfinite(head.weight).all()
    assert np.abs(head.weight[:, 16:]).max() < 1e-3


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["hat"] * 4, "at least two categories"),
        (["hat", "hat", "shoe"], "labels"),
    ],
)
def test_too_little_to_learn_from(labels, message):
    """The message says what is missing, with the categories concerned."""
    with pytest.raises(ConfigurationError, match=message):
        fit_head(np.eye(4, dtype=np.float16), labels)


def test_embeddings_that_are_not_finite_are_rejected():
    """One NaN would make every weight NaN."""
    rows = np.full((4, 4), np.nan, np.float16)
    with pytest.raises(ConfigurationError, match="not finite"):
        fit_head(rows, ["a", "a", "b", "b"])


def ads_of_photos(seed=0):
    """400 photos in ads of 1 to 4; every tenth photo is a copy of another ad's."""
    rng = random.Random(seed)
    labels, groups, contents = [], [], []
    for ad in range(160):
        label = f"class {ad % 4}"
        for photo in range(rng.randint(1, 4)):
            copied = contents and rng.random() < 0.1
            content = (
                rng.choice(contents)
                if copied
                else hashlib.sha256(f"{ad}/{photo}".encode()).digest()
            )
            labels.append(label)
            groups.append(f"ad {ad}")
            contents.append(content)
    return labels, groups, contents


def test_split_has_no_leakage():
    """No ad and no exact duplicate is in both parts, and every photo is in one."""
    labels, groups, contents = ads_of_photos()
    split = split_by_group(labels, groups=groups, contents=contents)
    train, held_out = set(split.train.tolist()), set(split.held_out.tolist())
    assert train | held_out == set(range(len(labels)))
    assert not train & held_out
    assert not {groups[i] for i in train} & {groups[i] for i in held_out}
    assert not {contents[i] for i in train} & {contents[i] for i in held_out}


def test_split_is_stratified():
    """About a fifth of every label is held out."""
    count = 400
    labels = [f"class {i % 4}" for i in range(count)]
    contents = [hashlib.sha256(b"%d" % i).digest() for i in range(count)]
    split = split_by_group(labels, groups=[str(i) for i in range(count)], contents=contents)
    assert Counter(labels[i] for i in split.held_out) == {f"class {c}": 20 for c in range(4)}
    third = split_by_group(
        labels, groups=[str(i) for i in range(count)], contents=contents, held_out=0.3
    )
    assert len(third.held_out) == 120


def test_split_depends_on_contents_and_seed_alone():
    """The order of photos and the names of ads do not matter; another seed splits otherwise."""
    labels, groups, contents = ads_of_photos()
    first = split_by_group(labels, groups=groups, contents=contents)
    held_out = {contents[i] for i in first.held_out}
    order = list(range(len(labels)))
    random.Random(1).shuffle(order)
    again = split_by_group(
        [labels[i] for i in order],
        groups=["renamed " + groups[i] for i in order],
        contents=[contents[i] for i in order],
    )
    assert {contents[order[i]] for i in again.held_out} == held_out
    other = split_by_group(labels, groups=groups, contents=contents, seed=1)
    assert {contents[i] for i in other.held_out} != held_out


def test_split_leaves_training_photos_for_every_label():
    """A label with one ad is only trained on; one with two ads has one in each part."""
    labels = ["hat"] * 3 + ["shoe"] * 2
    contents = [bytes([i]) for i in range(5)]
    split = split_by_group(labels, groups=["a", "a", "a", "b", "c"], contents=contents)
    assert {0, 1, 2} <= set(split.train.tolist())
    assert len(split.held_out) == 1
    with pytest.raises(ConfigurationError, match="as many"):
        split_by_group(labels, groups=["a"], contents=contents)
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        split_by_group(labels, groups=labels, contents=contents, held_out=1.0)


def test_evaluation_by_hand():
    """Each measure on five photos equals the one computed by hand."""
    probabilities = np.array(
        [[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.3, 0.7, 0], [1, 0, 0]], np.float32
    )
    measures = evaluate(probabilities, ["a", "b", "b", "b", "a"], ("a", "b", "c"))
    assert measures["count"] == 5
    assert measures["accuracy"] == pytest.approx(0.8)
    assert measures["majority_accuracy"] == pytest.approx(0.6)
    assert measures["confusion"] == [[2, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert measures["per_category"]["a"] == {
        "count": 2,
        "recall": 1.0,
        "precision": pytest.approx(2 / 3),
    }
    assert measures["per_category"]["b"]["recall"] == pytest.approx(2 / 3)
    assert measures["per_category"]["c"] == {"count": 0, "recall": None, "precision": None}
    # each score is in a bin of its own: |0.9-1| + |0.6-0| + |0.8-1| + |0.7-1| + |1-1|, over 5
    assert measures["calibration_error"] == pytest.approx(1.2 / 5, abs=1e-6)
    log_loss = -np.mean(np.log([0.9, 0.4, 0.8, 0.7, 1.0]))
    assert measures["log_loss"] == pytest.approx(log_loss, abs=1e-6)
    assert sum(measures["histogram"]["right"]) == 4
    assert sum(measures["histogram"]["wrong"]) == 1
    assert len(measures["histogram"]["edges"]) == len(measures["histogram"]["right"]) + 1
    with pytest.raises(ConfigurationError, match="does not know"):
        evaluate(probabilities, ["a", "b", "b", "b", "sofa"], ("a", "b", "c"))


def test_majority():
    """The most frequent label of the training part, evaluated on the other part."""
    assert majority_accuracy(["a", "b", "b"], ["a", "b", "c", "b"]) == 0.5
    assert majority_accuracy(["b", "a"], ["a"]) == 1.0  # a tie goes to the first by name
    assert majority_accuracy([], ["a"]) == 0.0


@pytest.mark.slow
def test_backbone_learns_from_random_weights():
    """After training, the features distinguish the patterns."""
    photos, labels = drawn_photos(120)
    steps = []
    plan = TrainingPlan(phases=(Phase(32),), epochs=16, batch=32, learning_rate=4e-3, seed=1)
    trained = train_backbone(
        "mobilenet_v3_small", photos, labels, plan=plan, preprocessing=SMALL, progress=steps.append
    )
    assert np.mean(trained.losses[-10:]) < 0.8 * np.mean(trained.losses[:10])
    assert [s.step for s in steps] == list(range(1, len(trained.losses) + 1))
    assert steps[-1].step == steps[-1].total
    assert steps[-1].fraction == 1.0
    backbone = Backbone("mobilenet_v3_small").eval()
    backbone.load(trained.state)
    unseen, truth = drawn_photos(60, seed=9)
    mean = torch.tensor(SMALL.mean).view(1, 3, 1, 1)
    std = torch.tensor(SMALL.std).view(1, 3, 1, 1)

    def rows(pixels):
        with torch.inference_mode():
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            return torch.nn.functional.normalize(backbone((images - mean) / std), dim=1).numpy()

    head = fit_head(rows(photos), labels).head
    assert evaluate(class_probabilities(rows(unseen), head), truth, head.labels)["accuracy"] > 0.9


def test_training_is_repeatable_and_keeps_the_random_state():
    """The same seed gives the same losses; the caller's random state does not change."""
    photos, labels = drawn_photos(24)
    plan = TrainingPlan(phases=(Phase(32),), epochs=2, batch=8, seed=5)

    def train():
        return train_backbone("mobilenet_v3_small", photos, labels, plan=plan, preprocessing=SMALL)

    torch.manual_seed(3)
    first = train()
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)
    assert first.losses == train().losses


def test_the_loader_gets_rows_and_sizes():
    """The loader gets the sizes of the phases in order; photos of other sizes are resized."""
    photos, labels = drawn_photos(16, size=40)
    sizes = []

    def loader(rows, size):
        sizes.append(size)
        return photos[rows]

    plan = TrainingPlan(phases=(Phase(32, share=3), Phase(64)), epochs=4, batch=8)
    train_backbone("mobilenet_v3_small", loader, labels, plan=plan, preprocessing=SMALL)
    assert sizes[:8] == [32] * 6 + [64] * 2
    assert set(sizes[8:]) == {64}  # the statistics of the norms


def test_time_budget_ends_training():
    """Training stops when the budget is used up, with its schedule complete."""
    photos, labels = drawn_photos(16)
    ticks = itertools.count()
    steps = []
    plan = TrainingPlan(phases=(Phase(32),), epochs=1_000, batch=8, time_budget_s=5)
    trained = train_backbone(
        "mobilenet_v3_small", photos, labels, plan=plan, preprocessing=SMALL,
        progress=steps.append, clock=lambda: float(next(ticks)),
    )  # fmt: skip
    assert len(trained.losses) == 5
    assert steps[-1].fraction == 1.0


def test_fine_tuning_starts_from_the_given_weights():
    """The weights change, but not far, and the given arrays are not modified."""
    torch.manual_seed(0)
    state = Backbone("mobilenet_v3_small").state()
    before = {k: v.copy() for k, v in state.items()}
    photos, labels = drawn_photos(24)
    tuned = fine_tune("mobilenet_v3_small", state, photos, labels, preprocessing=SMALL, epochs=2)
    name = "features.12.0.weight"
    moved = np.linalg.norm(tuned.state[name] - state[name]) / np.linalg.norm(state[name])
    assert 0 < moved < 0.5
    assert all(np.array_equal(state[k], before[k]) for k in state)
    with pytest.raises(ConfigurationError, match="two categories"):
        fine_tune("resnet18", state, photos, ["hat"] * 24, preprocessing=SMALL)
    with pytest.raises(ConfigurationError, match="not resnet18's"):
        fine_tune("resnet18", state, photos, labels, preprocessing=SMALL)


def test_one_group_of_each_class_can_not_be_validated() -> None:
    """With one ad, or one photo, for each class a head is fitted, and says that it is not known how
    sure it may be."""
    rows = np.eye(4, 8, dtype=np.float16)
    for labels, groups in ((["a", "a", "b", "b"], [1, 1, 2, 2]), (["a", "b/c", "b/d", "e"], None)):
        fitted = fit_head(rows, labels, task="category", groups=groups)
        assert class_probabilities(rows, fitted.head).argmax(axis=1).tolist() == [
            fitted.head.labels.index(label) for label in labels
        ]
        assert (fitted.metrics["folds"], fitted.metrics["validation_rows"]) == (0, 0)
        assert fitted.metrics["validation_accuracy"] is None


def test_few_photos_of_a_class_and_labels_that_are_paths() -> None:
    """Five photos a class give a head that is calibrated, and one class has a single photo; the
    tree's thresholds are found on the same folds."""
    rng = np.random.default_rng(0)
    labels = [f"{group}/{kind}" for group in "ab" for kind in "xyz"]
    centres = rng.normal(size=(2, 32)).repeat(3, axis=0) * 1.5 + rng.normal(size=(6, 32))

    def photos(each: int) -> tuple[np.ndarray, list[str]]:
        rows = centres.repeat(each, axis=0) + 1.2 * rng.normal(size=(6 * each, 32))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(np.float16), [label for label in labels for _ in range(each)]

    rows, known = photos(5)
    single = (rng.normal(size=(1, 32)) / 6).astype(np.float16)
    head = fit_head(np.concatenate([rows, single]), [*known, "c"]).head
    others, truth = photos(300)
    measures = evaluate(class_probabilities(others, head), truth, head.labels)
    assert measures["accuracy"] > 0.6
    assert measures["calibration_error"] < 0.15
    thresholds = Thresholds.of(head.config)
    assert thresholds is not None
    found = tree_measures(class_probabilities(others, head), truth, head.labels, thresholds)
    assert found["answers"]["right"] >= 0.9


def test_a_network_with_one_size_of_input_is_fine_tuned_at_that_size():
    """A transformer can't start at two thirds of the size."""
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 255, (4, 224, 224, 3), np.uint8)
    name = "timm:vit_tiny_patch16_224"
    torch.manual_seed(0)
    state = Backbone(name).state()
    tuned = fine_tune(name, state, photos, ["a", "b"] * 2, preprocessing=Preprocessing(), epochs=1)
    assert not np.array_equal(tuned.state["pos_embed"], state["pos_embed"])
