"""A task that is off in a catalog is off there for those that read its answers too."""

from types import SimpleNamespace

import pytest

from ops.errors import ConfigurationError
from ops.scoring.switched_off import NONE_OFF, switched_off


def a_task(name, *answers):
    return SimpleNamespace(name=name, inputs=SimpleNamespace(answers=answers))


TASKS = [a_task("a"), a_task("b", "a"), a_task("c", "b"), a_task("d")]


def test_a_task_that_reads_the_answers_is_off_too():
    """In the same catalogs, through any number of tasks."""
    off = switched_off({("a", "kg"), ("d", "*")}, TASKS)
    assert [off(name, "kg") for name in "abcd"] == [True] * 4
    assert [off(name, "uz") for name in "abcd"] == [False, False, False, True]
    assert [off.has(name) for name in "abcd"] == [True] * 4
    assert [off.everywhere(name) for name in "abcd"] == [False, False, False, True]
    assert (off.catalogs("c"), off.catalogs("d")) == (["kg"], [])


def test_nothing_is_off_without_the_setting():
    off = switched_off((), TASKS)
    assert off == NONE_OFF
    assert not any(off(name, "kg") or off.has(name) for name in "abcd")


def test_an_unknown_task_is_refused():
    """With the tasks that there are."""
    with pytest.raises(ConfigurationError, match=r"not installed here: x, y\. Installed are: a, b"):
        switched_off({("y", "kg"), ("x", "*")}, TASKS)
