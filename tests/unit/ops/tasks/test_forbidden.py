"""The task `forbidden` learns a marketplace's own rules, and one photo is enough to break them."""

import numpy as np
import pytest

from ops.errors import ConfigurationError
from ops.models.heads import class_probabilities
from ops.tasks.forbidden import fit, predict

DIMENSION = 32
LABELS = ("allowed", "tobacco", "weapons")


def rows(labels: list[str], seed: int) -> np.ndarray:
    """Unit rows around a centre for each label: (N, DIMENSION) float16."""
    centres = np.random.default_rng(0).normal(size=(len(LABELS), DIMENSION))
    rng = np.random.default_rng(seed)
    found = np.stack([centres[LABELS.index(it)] for it in labels])
    found = found + rng.normal(size=found.shape, scale=0.4)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def a_head():
    taught = list(LABELS) * 30
    return fit(rows(taught, 1), taught)[0]


def test_one_forbidden_photo_among_nine_is_enough() -> None:
    """As by the definition: the largest of 1 - P(allowed), photo by photo."""
    head = a_head()
    photos = ["allowed"] * 9 + ["weapons"] + ["allowed"] * 4
    owner = np.array([0] * 10 + [2] * 4)
    embeddings = rows(photos, 2)
    found = predict(embeddings, owner, 3, head)
    assert found[1] is None
    assert found[0] is not None and found[2] is not None
    assert (found[0].label, found[2].label) == ("weapons", "allowed")
    suspicion = 1 - class_probabilities(embeddings, head)[:, head.labels.index("allowed")]
    assert found[0].details["forbidden"] == pytest.approx(suspicion[:10].max(), abs=1e-5)
    assert found[0].score == found[0].details["forbidden"]
    assert found[2].score == pytest.approx(1 - suspicion[10:].max(), abs=1e-5)
    assert sum(share for _, share in found[0].details["top"]) == pytest.approx(1, abs=1e-4)


def test_the_order_of_the_rows_does_not_matter() -> None:
    """Owners come in any order."""
    head, photos = a_head(), list(LABELS) * 4
    embeddings, owner = rows(photos, 3), np.arange(12) % 5
    shuffled = np.random.default_rng(4).permutation(12)
    first = predict(embeddings, owner, 5, head)
    assert predict(embeddings[shuffled], owner[shuffled], 5, head) == first


def test_no_ads_no_answers() -> None:
    """An empty batch."""
    none = np.empty((0, DIMENSION), np.float16)
    assert predict(none, np.empty(0, np.int64), 2, a_head()) == [None, None]


def test_without_allowed_ads_nothing_is_learned() -> None:
    """Or every ad would be forbidden."""
    taught = ["tobacco", "weapons"] * 10
    with pytest.raises(ConfigurationError, match=r"labelled 'allowed'.*it has tobacco, weapons"):
        fit(rows(taught, 1), taught)
