"""Evaluates a head on held-out photos, and computes baselines for comparison.

Owns the measures that the release gate and the plots in Dagster use, as JSON values.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError

CALIBRATION_BINS = 15  # Guo et al. 2017, "On Calibration of Modern Neural Networks"
HISTOGRAM_BINS = 20


def evaluate(
    probabilities: NDArray[np.float32], truth: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Evaluate (N, C) probabilities, columns as `labels`, against N true labels; JSON values.

    Keys: count, accuracy, log_loss, calibration_error (expected, in [0, 1]), majority_accuracy
    (of always predicting the most frequent label), per_category {label: {count, recall,
    precision}} (None where undefined), confusion (C rows of true labels, C columns of predicted
    ones), histogram {edges, right, wrong} of the best score.

    Raises:
        ConfigurationError: there are no rows, or a true label that the head does not know.
    """
    index = {label: i for i, label in enumerate(labels)}
    unknown = sorted(set(truth) - index.keys())
    if unknown or len(truth) == 0 or probabilities.shape != (len(truth), len(labels)):
        raise ConfigurationError(
            f"Can't evaluate probabilities of shape {probabilities.shape} against {len(truth)} "
            f"true labels of {len(labels)} categories; labels that the head does not know: "
            f"{unknown[:5]}."
        )
    expected = np.array([index[label] for label in truth])
    predicted, best = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == expected
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (expected, predicted), 1)
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    true_probability = np.clip(probabilities[np.arange(len(expected)), expected], 1e-12, 1)
    return {
        "count": len(expected),
        "accuracy": float(right.mean()),
        "log_loss": float(-np.log(true_probability.astype(np.float64)).mean()),
        "calibration_error": _calibration_error(best, right),
        "majority_accuracy": float(confusion.sum(axis=1).max() / len(expected)),
        "per_category": _per_category(confusion, labels),
        "confusion": confusion.tolist(),
        "histogram": {
            "edges": edges.tolist(),
            "right": np.histogram(best[right], edges)[0].tolist(),
            "wrong": np.histogram(best[~right], edges)[0].tolist(),
        },
    }


def majority_accuracy(train: Sequence[str], truth: Sequence[str]) -> float:
    """Accuracy on `truth` of always predicting the most frequent label of `train` (ties: the first
    by name); 0 where either is empty."""
    if len(train) == 0 or len(truth) == 0:
        return 0.0
    label, _ = min(Counter(train).items(), key=lambda item: (-item[1], item[0]))
    return sum(t == label for t in truth) / len(truth)


def logistic_regression_accuracy(
    train_embeddings: NDArray[np.floating[Any]],
    train_labels: Sequence[str],
    test_embeddings: NDArray[np.floating[Any]],
    test_labels: Sequence[str],
) -> float:
    """The baseline: accuracy of scikit-learn's LogisticRegression (C=1), the better of that on the
    rows as they are and that on standardised rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = train_embeddings.astype(np.float32), test_embeddings.astype(np.float32)
    plain = LogisticRegression(max_iter=1_000)
    standardised = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return max(
            float(model.fit(train, train_labels).score(test, test_labels))
            for model in (plain, standardised)
        )


def _calibration_error(best: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean gap between score and accuracy over equal bins."""
    bins = np.minimum((best * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    scores = np.bincount(bins, weights=best, minlength=CALIBRATION_BINS)
    hits = np.bincount(bins, weights=right, minlength=CALIBRATION_BINS)
    return float(np.abs(scores - hits).sum() / len(best))


def _per_category(
    confusion: NDArray[np.int64], labels: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    right, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        label: {
            "count": int(true[i]),
            "recall": float(right[i] / true[i]) if true[i] > 0 else None,
            "precision": float(right[i] / predicted[i]) if predicted[i] > 0 else None,
        }
        for i, label in enumerate(labels)
    }
