"""The parts of the price model: trees, ridge, texts, means, calibration, and which prices count."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from ops.models.price.conformal import calibrated_node, offset, offsets_by_node, scores
from ops.models.price.means import NodeMeans, without_own_fold
from ops.models.price.ridge import PENALTIES, fit_ridge
from ops.models.price.selection import SetAside, reasons
from ops.models.price.text import BUCKETS, text_rows
from ops.models.price.trees import Growth, grow


def test_trees_find_the_quantiles_of_a_step():
    """Noise of known quantiles around two levels: 0.1, 0.5 and 0.9 of each."""
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, (2_000, 3)).astype(np.float32)
    noise = rng.uniform(0, 1, 2_000)
    target = np.where(rows[:, 1] > 0.25, 5.0, 1.0) + noise
    growth = Growth(rounds=100, least=40, rate=0.2)
    asked = np.array([[0, 0.0, 0], [0, 0.9, 0]], np.float32)
    for quantile in (0.1, 0.5, 0.9):
        found = grow(rows, target, quantile, growth, seed=0).predict(asked)
        assert found == pytest.approx([1 + quantile, 5 + quantile], abs=0.12)


def test_a_rows_prediction_does_not_depend_on_the_other_rows():
    """To the last digit, so that the stream and a re-score agree."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 6)).astype(np.float32)
    forest = grow(rows, rng.normal(size=300), 0.5, Growth(rounds=30), seed=0)
    whole = forest.predict(rows)
    assert [forest.predict(rows[i : i + 1])[0] for i in range(50)] == whole[:50].tolist()


@pytest.mark.parametrize("shape", [(40, 90), (90, 12)])
def test_the_ridge_is_that_of_scikit_learn(shape):
    """For more features than rows, and for fewer; at the penalty that it chose."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=shape).astype(np.float32)
    target = rows[:, 0] * 2.0 + rng.normal(size=len(rows)) + 7
    ridge, unseen = fit_ridge(rows, target, np.arange(len(rows)) % 5)
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    scale = np.square(centred).sum() / min(shape)
    fits = [SklearnRidge(alpha=p * scale).fit(rows, target) for p in PENALTIES]
    weights = [np.abs(fit.coef_ - ridge.weight).max() for fit in fits]
    best = int(np.argmin(weights))
    assert weights[best] < 1e-4
    assert ridge.predict(rows) == pytest.approx(fits[best].predict(rows), abs=1e-3)
    out = np.arange(len(rows)) % 5 == 0
    part = centred[~out] - centred[~out].mean(axis=0)
    alpha = PENALTIES[best] * np.square(part).sum() / min(part.shape)
    without = SklearnRidge(alpha=alpha).fit(rows[~out], target[~out])
    assert unseen[out] == pytest.approx(without.predict(rows[out]), abs=1e-3)


@pytest.mark.parametrize(
    "text", ["A blue chair", "Стол, 160 см", "ひとりがけのソファー", "🛋", "أريكة"]
)
def test_a_text_of_any_script_is_a_unit_row(text):
    """And a text alone has the row that it has among others."""
    (row,) = text_rows([text])
    assert row.shape == (BUCKETS,) and np.square(row).sum() == pytest.approx(1, abs=1e-5)
    assert (text_rows(["other", text])[1] == row).all()


def test_similar_texts_are_near_and_an_empty_one_is_zero():
    """By character n-grams: an ending more or less is a small change."""
    one, other, far, empty = text_rows(["кожаный диван", "кожаные диваны", "iphone 12", " "])
    assert one @ other > 0.5 > one @ far
    assert not empty.any()


def test_an_amount_in_a_text_is_not_read_and_a_year_is():
    """A seller who writes the price into the title does not give it to the model."""
    cheap, dear, year, other_year = text_rows(
        ["chair, 1 200 som", "chair, 98500 som", "car of 2014", "car of 2021"]
    )
    assert (cheap == dear).all()
    assert (year != other_year).any()


def test_means_of_rare_nodes_are_near_those_above():
    """One ad of a node counts for a fifth of its mean; an unknown node has its parent's."""
    paths = [("a", "x")] * 100 + [("a", "y")]
    means = NodeMeans.of(paths, np.array([1.0] * 100 + [11.0]))
    root = (100 + 11) / 101
    middle = (111 + 4 * root) / 105
    assert means[()] == pytest.approx(root)
    assert means["a", "y"] == pytest.approx((11 + 4 * middle) / 5)
    assert means["a", "unknown"] == means[("a",)] == pytest.approx(middle)
    assert means["unknown",] == pytest.approx(root)


def test_a_fold_does_not_see_its_own_values():
    """Changing the values of a fold changes the means of the others alone."""
    paths, folds = [("a",)] * 10, np.arange(10) % 2
    values = np.arange(10.0)
    before = without_own_fold(paths, values, folds)
    after = without_own_fold(paths, np.where(folds == 0, values + 100, values), folds)
    assert (before[folds == 0] == after[folds == 0]).all()
    assert (before[folds == 1] != after[folds == 1]).all()


def test_the_offset_is_the_conformal_rank():
    """Of nine scores and 80 %: ceil(10 x 0.8), the eighth; of too few, the largest."""
    assert offset(np.arange(9.0, 0, -1), 0.8) == 8
    assert offset(np.array([3.0, 1.0]), 0.8) == 3


def test_a_calibrated_range_covers_what_it_promises():
    """Of new values of the same distribution, whatever the uncalibrated ends were."""
    rng = np.random.default_rng(3)
    value = rng.standard_t(3, 4_000)
    flat = np.zeros(4_000)
    by = offset(scores(value, flat - 0.1, flat + 0.4), 0.8)
    new = rng.standard_t(3, 20_000)
    assert np.mean((new >= -0.1 - by) & (new <= 0.4 + by)) == pytest.approx(0.8, abs=0.02)


def test_small_categories_are_calibrated_with_the_node_above():
    """A node needs `least` ads; the root always is one."""
    paths = [("a", "x")] * 3 + [("a", "y")] * 2 + [("b",)]
    found = offsets_by_node(paths, np.array([1, 1, 1, 9, 9, 5.0]), 0.8, least=3)
    assert {node: count for node, (_, count) in found.items()} == {
        (): 6,
        ("a",): 5,
        ("a", "x"): 3,
    }
    assert calibrated_node(("a", "y"), found) == ("a",)
    assert calibrated_node(("b",), found) == ()


def test_absurd_prices_are_set_aside_with_a_reason():
    """Zero, 1e14, and what is far outside of its category, though another one has such prices."""
    rng = np.random.default_rng(4)
    chairs, flats = np.exp(rng.normal(7, 0.5, 50)), np.exp(rng.normal(15, 0.5, 50))
    prices = np.concatenate([chairs, flats, [0.0, 1e14, 3e6, 3e6]])
    paths = [("chairs",)] * 50 + [("flats",)] * 50
    paths += [("chairs",), ("chairs",), ("chairs",), ("flats",)]
    assert reasons(prices, paths) == [None] * 100 + [
        SetAside.NOT_POSITIVE,
        SetAside.TOO_HIGH,
        SetAside.OUTLIER,
        None,
    ]
