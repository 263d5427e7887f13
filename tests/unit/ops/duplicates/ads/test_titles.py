"""Titles are compared as PostgreSQL's pg_trgm does; the expected values are its own."""

import pytest

from ops.duplicates.ads.titles import likeness, trigrams


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
