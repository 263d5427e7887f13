"""An accuracy's interval is Wilson's, chance is said, and a better baseline is explained."""

import pytest
from scipy.stats import binomtest

from ops.training.figures import Accuracy, why_behind, wilson_interval


@pytest.mark.parametrize(("right", "count"), [(1, 3), (0, 5), (5, 5), (220, 300), (1, 1)])
def test_the_interval_is_wilsons(right: int, count: int) -> None:
    """As SciPy computes it; an accuracy of 0 or 1 has an interval too."""
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson_interval(right, count) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize(("right", "count"), [(1, 0), (4, 3), (-1, 3)])
def test_what_is_no_share_is_refused(right: int, count: int) -> None:
    """There is no interval of nothing."""
    with pytest.raises(ValueError, match="is no share"):
        wilson_interval(right, count)


def test_few_photos_are_chance() -> None:
    """2 of 3 may be chance where half of the photos have one label; 220 of 300 is not."""
    few = Accuracy(2, 3, 0.5)
    assert few.may_be_chance
    assert str(few) == ("66.7% of 3, 95% interval 20.8 to 93.9%; may be chance, which is 50.0%")
    many = Accuracy(220, 300, 0.1)
    assert not many.may_be_chance
    assert str(many) == "73.3% of 300, 95% interval 68.1 to 78.0%"


def test_the_accuracy_is_read_from_the_measures() -> None:
    """Chance is the share of the most frequent label of the same photos."""
    measures = {"count": 7, "accuracy": 5 / 7, "majority_accuracy": 3 / 7}
    assert Accuracy.of(measures) == Accuracy(5, 7, 3 / 7)


def test_a_head_behind_the_baseline_says_why() -> None:
    """By how many photos, whether it may be chance, and how the two are fitted."""
    accuracy = Accuracy(60, 100, 0.1)
    why = why_behind(accuracy, {"logistic_regression_accuracy": 0.63}, {})
    assert why is not None
    assert why.startswith("behind scikit-learn's by 3 photos of 100: within the interval")
    assert "chosen on these photos" in why
    assert "live head" not in why
    far = why_behind(accuracy, {"logistic_regression_accuracy": 0.9}, {"share_of_live_head": 0.4})
    assert far is not None
    assert "within the interval" not in far
    assert "40% of it is the live head" in far


def test_a_head_that_is_not_behind_has_nothing_to_explain() -> None:
    """As good, better, or without a baseline."""
    accuracy = Accuracy(60, 100, 0.1)
    assert why_behind(accuracy, {"logistic_regression_accuracy": 0.6}, {}) is None
    assert why_behind(accuracy, {"logistic_regression_accuracy": 0.5}, {}) is None
    assert why_behind(accuracy, {"majority_accuracy": 0.9}, {}) is None
