"""Tasks are discovered by file; the score of a category is the mean over an ad's photos."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ops.tasks
from ops.errors import ConfigurationError
from ops.models.heads import _as_float32, class_probabilities
from ops.models.release import Head
from ops.tasks import (
    Task,
    all_tasks,
    category,
    missing_packages,
    moderation,
    task_by_name,
    tasks_left_out,
)
from ops.types import Prediction

LABELS = ("bag", "hat", "shoe", "sofa")


def some_rows(count, seed=0, dimension=8):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def a_head(labels=LABELS, dimension=8):
    rng = np.random.default_rng(7)
    weight = rng.normal(size=(len(labels), dimension), scale=4).astype(np.float32)
    return Head("category", labels, weight, rng.normal(size=len(labels)).astype(np.float32))


def reference_scores(rows, head):
    """The definition, in float64, row by row."""
    logits = [head.weight.astype(np.float64) @ row.astype(np.float64) + head.bias for row in rows]
    exps = [np.exp(logit - logit.max()) for logit in logits]
    return np.mean([e / e.sum() for e in exps], axis=0)


@pytest.mark.parametrize("ads", [7, 6_000])
def test_category_is_the_mean_of_the_photos(ads):
    """For owners in any order, and ads with no, one and many photos, as by the definition."""
    rng = np.random.default_rng(1)
    owner = rng.integers(0, ads, 2 * ads).astype(np.int64)
    rows, head = some_rows(len(owner)), a_head()
    answers = category.predict(rows, owner, ads, head)
    assert len(answers) == ads
    for ad in range(min(ads, 300)):
        mine = rows[owner == ad]
        if len(mine) == 0:
            assert answers[ad] is None
            continue
        expected = reference_scores(mine, head)
        order = np.argsort(-expected)
        answer = answers[ad]
        assert answer.task == "category"
        assert answer.label == LABELS[order[0]]
        assert answer.score == pytest.approx(expected[order[0]], abs=1e-5)
        assert [label for label, _ in answer.details["top"]] == [LABELS[i] for i in order[:3]]
        assert [score for _, score in answer.details["top"]] == pytest.approx(
            expected[order[:3]].tolist(), abs=1e-5
        )
    assert gc.isenabled()


def test_the_order_of_rows_and_the_batch_do_not_matter():
    """An ad's prediction is the same in another batch, with its photos shuffled."""
    rows, head = some_rows(5), a_head()
    alone = category.predict(rows, np.zeros(5, np.int64), 1, head)[0]
    more = np.concatenate([some_rows(40, seed=3), rows[::-1]])
    owner = np.concatenate([np.arange(40), np.full(5, 40)]).astype(np.int64)
    among = category.predict(more, owner, 41, head)[40]
    assert among.label == alone.label
    assert among.score == pytest.approx(alone.score, abs=1e-6)


def test_ads_without_rows():
    """Without rows there is no prediction for any ad, and no error."""
    nothing = np.empty((0, 8), np.float16)
    assert category.predict(nothing, np.empty(0, np.int64), 3, a_head()) == [None] * 3
    assert category.predict(nothing, np.empty(0, np.int64), 0, a_head()) == []


def test_two_labels_and_equal_scores():
    """With fewer than three labels all are listed; equal scores are in the head's order."""
    head = Head("category", ("b", "a"), np.zeros((2, 8), np.float32), np.zeros(2, np.float32))
    got = category.predict(some_rows(1), np.zeros(1, np.int64), 1, head)[0]
    assert got == Prediction("category", "b", 0.5, {"top": [["b", 0.5], ["a", 0.5]]})


def test_scores_stay_scores_at_the_extremes():
    """Huge logits do not overflow: scores are finite and within [0, 1]."""
    weight = np.array([[1e30] * 8, [-1e30] * 8, [0] * 8], np.float32)
    head = Head("category", ("a", "b", "c"), weight, np.zeros(3, np.float32))
    rows = np.abs(some_rows(4))
    for answer in category.predict(rows, np.arange(4), 4, head):
        assert answer.label == "a"
        assert answer.score == 1.0


def test_embeddings_of_another_backbone_are_refused():
    """A head is not applied to vectors of another length."""
    with pytest.raises(ConfigurationError, match="another backbone"):
        category.predict(some_rows(2, dimension=9), np.arange(2), 2, a_head())


def test_probabilities_do_not_depend_on_blocks():
    """Rows beyond one block are computed like the first."""
    rows, head = some_rows(9_000), a_head()
    whole = class_probabilities(rows, head)
    assert whole.shape == (9_000, 4)
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(whole[8_190:], class_probabilities(rows[8_190:], head), atol=1e-6)


def test_category_is_found():
    """The file's task is discovered, under its fixed names."""
    task = task_by_name("category")
    assert task in all_tasks()
    assert task.asset_name == "ad_categories"
    assert task.description.endswith(".")
    with pytest.raises(ConfigurationError, match="category"):
        task_by_name("colour")


def test_adding_a_file_adds_a_task(tmp_path, monkeypatch):
    """A module with a TASK is found; one without is an error, and so are two of one name."""
    monkeypatch.syspath_prepend(tmp_path)
    text = "from ops.tasks import Task\nTASK = Task({0!r}, {1!r}, 'A task.', lambda *a: [])\n"
    (tmp_path / "odd_colour_task.py").write_text(text.format("colour", "ad_colours"))
    (tmp_path / "odd_double_task.py").write_text(text.format("category", "ad_more"))
    (tmp_path / "odd_empty_task.py").write_text("")

    def found(*names):
        return [t.name for t in all_tasks(lambda: ["ops.tasks.category", *names])]

    assert found("odd_colour_task") == ["category", "colour"]
    with pytest.raises(ConfigurationError, match="share a name"):
        found("odd_double_task")
    with pytest.raises(ConfigurationError, match="defines no TASK"):
        found("odd_empty_task")


def test_a_task_is_behind_those_whose_answers_it_reads(tmp_path, monkeypatch):
    """Whatever their names are; two that read each other's answers, or none's, are an error."""
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        "from ops.tasks import Answer, Inputs, Task\n"
        "TASK = Task({0!r}, 'ad_{0}', 'A task.', answer=Answer, predict_ads=lambda *a: [], "
        "inputs=Inputs(answers=({1!r},)))\n"
    )
    for name, reads in (("aaa", "bbb"), ("bbb", "category"), ("xxx", "yyy"), ("yyy", "xxx")):
        (tmp_path / f"odd_{name}_task.py").write_text(text.format(name, reads))

    def found(*names):
        modules = ["ops.tasks.category", *(f"odd_{name}_task" for name in names)]
        return [t.name for t in all_tasks(lambda: modules)]

    assert found("aaa", "bbb") == ["category", "bbb", "aaa"]
    with pytest.raises(ConfigurationError, match="not here: \\['bbb'\\]"):
        found("aaa")
    with pytest.raises(ConfigurationError, match="each other's answers: xxx, yyy"):
        found("xxx", "yyy")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("from ops.tasks import Task\nTASK = Task('a', 'b', 'c')", "either predict or"),
        ("", "names no module with a TASK"),
    ],
)
def test_a_package_that_cannot_be_imported_is_named(tmp_path, text, why):
    """So that a person knows what to repair or uninstall; nothing starts without it."""
    (tmp_path / "odd_package_task.py").write_text(text)
    about = tmp_path / "odd_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[lalafo.tasks]\nodd = odd_package_task\n")
    code = "from ops.tasks import all_tasks; all_tasks()"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[4])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "ConfigurationError" in last
    assert "odd-package" in last and "odd_package_task" in last and why in last


def test_head_is_fitted_by_the_task():
    """The task makes a head that its own predict can use."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2, 8))
    labels = ["hat", "shoe"] * 30
    rows = np.stack([centres[i % 2] + rng.normal(size=8, scale=0.1) for i in range(60)])
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    task = task_by_name("category")
    head, metrics = task.fit(rows, labels, seed=0)
    answers = task.predict(rows, np.arange(60), 60, head)
    assert [a.label for a in answers] == labels
    assert metrics["rows"] == 60


def test_importing_tasks_imports_no_torch():
    """The code location and the gateway's processes start without torch."""
    code = "import ops.tasks, sys; ops.tasks.all_tasks(); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
    assert isinstance(task_by_name("category"), Task)


def test_every_half_is_read_as_it_is():
    """All finite float16 values, subnormal ones and both zeros included, in any layout."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = np.resize(every[np.isfinite(every)], (7_936, 8))
    for rows in (finite, finite[::3], finite[:, ::-1], finite.astype(np.float32)):
        got = _as_float32(rows)
        assert got.dtype == np.float32
        assert np.array_equal(got.view(np.int32), rows.astype(np.float32).view(np.int32))


def test_a_row_is_the_same_in_any_batch():
    """To the last digit: re-scores with other chunks and the stream get the same predictions."""
    rows, head = some_rows(300, dimension=576), a_head(tuple(f"c{n:02d}" for n in range(29)), 576)
    whole = class_probabilities(rows, head)
    for start, stop in ((0, 1), (7, 8), (3, 50), (100, 300)):
        assert np.array_equal(class_probabilities(rows[start:stop], head), whole[start:stop])


def test_a_task_without_its_packages_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no task then, and the extra that brings it can be named."""
    monkeypatch.setattr(moderation, "REQUIRES", ("numpy", "no_such_package_here"))
    found = ops.tasks._installed.__wrapped__()  # all_tasks() looks once in a process
    assert "moderation" not in [task.name for task in found]
    assert "quality" in [task.name for task in found]
    assert tasks_left_out() == {"moderation": "moderation"}
    assert missing_packages("ops.tasks.moderation") == ("no_such_package_here",)
    monkeypatch.setattr(moderation, "REQUIRES", ("numpy",))
    assert "moderation" in [task.name for task in ops.tasks._installed.__wrapped__()]
    assert tasks_left_out() == {}
