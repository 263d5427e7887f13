"""A category is answered where it is sure, else a node above it; the answer does not depend on the
batch."""

import numpy as np
import pytest

from ops.models.categories.tree import Thresholds, ancestor, is_right, is_tree, path_of, tree_of

LABELS = ("Apple-Pie", "Apple/Gala", "Apple/Granny", "Banana", "Juice/Red/Cold", "Juice/Red/Warm")
SURE = Thresholds(leaf=0.8, parent=0.7)


def scores(*rows):
    return np.array(rows, np.float32)


def answered(rows, labels=LABELS, thresholds=SURE):
    tree = tree_of(labels)
    node, probability = tree.answers(rows, thresholds)
    return [
        (tree.nodes[n], tree.paths[n], round(p, 6))
        for n, p in zip(node.tolist(), probability.tolist(), strict=True)
    ]


def test_the_deepest_node_that_is_sure_is_answered():
    """A category, a node above it, a node of two levels above, and nothing sure."""
    rows = scores(
        [0.0, 0.9, 0.05, 0.05, 0.0, 0.0],
        [0.0, 0.4, 0.5, 0.1, 0.0, 0.0],
        [0.05, 0.05, 0.0, 0.1, 0.4, 0.4],
        [0.3, 0.15, 0.25, 0.2, 0.05, 0.05],
    )
    assert answered(rows) == [
        ("Apple/Gala", ("Apple", "Gala"), 0.9),
        ("Apple", ("Apple",), 0.9),
        ("Juice/Red", ("Juice", "Red"), 0.8),
        ("Apple", (), 0.4),
    ]


def test_a_name_that_begins_alike_is_another_category():
    """`Apple-Pie` is not below `Apple`, though it sorts before `Apple/Gala`."""
    assert answered(scores([0.75, 0.1, 0.15, 0, 0, 0]))[0] == ("Apple-Pie", (), 0.75)
    assert not is_right("Apple", "Apple-Pie")
    assert is_right("Apple", "Apple/Gala") and is_right("Apple", "Apple")
    assert not is_right("Apple/Gala", "Apple")


def test_a_category_with_categories_below_it_is_answered_as_a_node():
    """Photos in a folder and in its subfolder: the folder is a category too, with what is below."""
    labels = ("Apple", "Apple/Gala", "Banana")
    assert answered(scores([0.5, 0.3, 0.2]), labels) == [("Apple", ("Apple",), 0.8)]
    assert answered(scores([0.1, 0.85, 0.05]), labels) == [("Apple/Gala", ("Apple", "Gala"), 0.85)]


def test_what_all_labels_share_is_never_answered():
    """A single top folder says nothing; it is in the path all the same."""
    labels = ("food/Apple/Gala", "food/Apple/Granny", "food/Banana")
    assert answered(scores([0.4, 0.5, 0.1], [0.3, 0.25, 0.45]), labels) == [
        ("food/Apple", ("food", "Apple"), 0.9),
        ("food/Apple", (), 0.55),
    ]
    assert [level.names for level in tree_of(labels).levels] == [
        ("food/Apple", "food/Banana"),
        labels,
    ]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("hat", "shoe"), False),
        (("goods/hat", "goods/shoe"), False),
        (("goods/hat", "shoe"), True),
        (("a//b", "/c", "d/"), False),
        (("Еда/Яблоко красное", "Еда/Груша", "Обувь"), True),
        (("/".join("abcdefghij" * 5), "b"), True),
    ],
)
def test_which_labels_are_a_tree(labels, expected):
    """Labels with an inner node above some of them; a label with an empty part is one part."""
    assert is_tree(labels) is expected
    assert all(len(path) > 0 for path in map(path_of, labels))
    assert tree_of(tuple(labels)).levels[-1].names == tuple(sorted(labels))


def test_flat_labels_have_one_level():
    """Without a node above, an unsure answer is the most likely label, with an empty path."""
    assert answered(scores([0.6, 0.4]), ("hat", "shoe")) == [("hat", (), 0.6)]
    assert ancestor("hat", 3) == "hat"


def test_an_answer_is_the_same_in_any_batch():
    """To the last digit, as re-scores with other chunks and the stream must agree."""
    rng = np.random.default_rng(0)
    labels = tuple(sorted(f"{a}/{b}/{c}" for a in "abcd" for b in "efg" for c in "hijkl"))
    rows = rng.dirichlet(np.full(len(labels), 0.05), 400).astype(np.float32)
    tree, at = tree_of(labels), Thresholds(0.7, 0.6)
    node, probability = tree.answers(rows, at)
    assert len(set(map(len, (tree.paths[n] for n in node)))) == 4
    for start, stop in ((0, 1), (7, 8), (3, 50), (100, 400)):
        some = tree.answers(np.asfortranarray(rows[start:stop]), at)
        assert np.array_equal(some[0], node[start:stop])
        assert np.array_equal(some[1], probability[start:stop])


def test_no_rows():
    """No ad: no answer."""
    node, probability = tree_of(LABELS).answers(np.empty((0, 6), np.float32), SURE)
    assert len(node) == len(probability) == 0
