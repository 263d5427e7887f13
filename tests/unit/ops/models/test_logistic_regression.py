"""The minimum is scikit-learn's, whatever the shape of the rows."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ops.models.logistic_regression import Axes, minimise


def rows_of(count, width, seed=0):
    """Correlated rows with features of very different size, and labels of three classes."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width)) * np.geomspace(1, 0.01, width)
    targets = rng.integers(0, 3, count)
    rows = rng.normal(size=(count, width)) + 0.5 * rng.normal(size=(3, width))[targets]
    return (rows @ mixing).astype(np.float32), targets.astype(np.int64)


@pytest.mark.parametrize(("count", "width"), [(200, 12), (40, 90)])
@pytest.mark.parametrize("l2", [1.0, 0.01])
def test_the_minimum_is_scikit_learns(count, width, l2):
    """The same objective: scikit-learn's C is classes / (2 · rows · l2)."""
    rows, targets = rows_of(count, width)
    axes = Axes.of(rows)
    inputs = axes.apply(rows)
    weights = minimise(
        inputs,
        targets,
        variance=axes.variance,
        start=np.zeros((3, inputs.shape[1] + 1), np.float32),
        l2=l2,
        iterations=500,
        tolerance=1e-9,
    )
    reference = LogisticRegression(C=3 / (2 * count * l2), max_iter=10_000, tol=1e-8)
    expected = reference.fit(inputs, targets).decision_function(inputs)
    got = inputs @ weights[:, :-1].T + weights[:, -1]
    centred = got - got.mean(axis=1, keepdims=True)
    assert centred == pytest.approx(expected - expected.mean(axis=1, keepdims=True), abs=0.02)


@pytest.mark.parametrize(("count", "width"), [(200, 12), (40, 90)])
def test_weights_for_the_rows_themselves(count, width):
    """`original` gives the same logits for rows as the weights on the axes."""
    rows, _ = rows_of(count, width)
    axes = Axes.of(rows)
    weights = np.random.default_rng(1).normal(size=(3, len(axes.variance) + 1)).astype(np.float32)
    weight, bias = axes.original(weights)
    expected = axes.apply(rows) @ weights[:, :-1].T + weights[:, -1]
    assert rows @ weight.T + bias == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("count", "width"), [(200, 12), (40, 90)])
def test_axes_are_uncorrelated(count, width):
    """The covariance on the axes is diagonal, with the variances in descending order; scaled, the
    rows have a mean variance of 1."""
    rows, _ = rows_of(count, width)
    axes = Axes.of(rows)
    inputs = axes.apply(rows).astype(np.float64)
    covariance = inputs.T @ inputs / count
    assert covariance == pytest.approx(np.diag(axes.variance), abs=2e-4 * float(axes.variance[0]))
    assert (np.diff(axes.variance) <= 0).all()
    assert axes.variance.sum() / width == pytest.approx(1, abs=1e-3)


def test_rows_that_are_all_equal():
    """There is nothing to learn, and nothing is divided by zero."""
    rows = np.ones((6, 4), np.float32)
    axes = Axes.of(rows)
    inputs = axes.apply(rows)
    weights = minimise(
        inputs,
        np.array([0, 0, 0, 0, 1, 1]),
        variance=axes.variance,
        start=np.zeros((2, inputs.shape[1] + 1), np.float32),
        l2=1.0,
        iterations=50,
        tolerance=1e-9,
    )
    weight, bias = axes.original(weights)
    logits = rows @ weight.T + bias
    assert np.isfinite(logits).all()
    assert logits[0, 0] - logits[0, 1] == pytest.approx(np.log(2), abs=1e-2)
