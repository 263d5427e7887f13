"""Titles are compared as PostgreSQL's pg_trgm does; the expected values are its own."""

import pytest

from ops.duplicates.ads.titles import likeness, title_key, trigrams


def test_trigrams_are_those_of_pg_trgm():
    """`select show_trgm('Cat')`."""
    assert trigrams("Cat") == {"  c", " ca", "cat", "at "}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("word", "two words", 4 / 11),  # its manual's example: 0.363636
        ("Red sofa", "sofa, RED!", 1.0),
        ("abc", "xyz", 0.0),
        ("велосипед", "Велосипеды", 9 / 12),
    ],
)
def test_likeness(one: str, other: str, expected: float):
    assert likeness(one, other) == pytest.approx(expected)


def test_a_title_without_words_is_not_known():
    assert likeness("", "sofa") is None
    assert likeness("!!!", "...") is None


def test_titles_of_the_same_words_have_one_key():
    """Whatever their order, capitals, marks and width; a word more makes it another."""
    fullwidth = "red \uff33\uff2f\uff26\uff21 new"
    titles = "Red sofa, new", "NEW red sofa!", "sofa red new", fullwidth
    keys = {title_key(it) for it in titles}
    assert len(keys) == 1
    assert title_key("red sofa") not in keys
    assert all(key is not None and -(2**63) <= key < 2**63 for key in keys)


def test_a_title_of_one_word_has_no_key():
    assert title_key("Sofa") is None
    assert title_key("sofa sofa!") is None
    assert title_key("") is None
