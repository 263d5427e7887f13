"""An answer becomes a row that PostgreSQL can store, and schemas that readers are shown."""

import pytest
from pydantic import Field, ValidationError

from ops.errors import ConfigurationError
from ops.tasks import Answer
from ops.tasks.category import CategoryAnswer
from ops.tasks.contract.answer import (
    MAX_DETAILS_BYTES,
    answer_schema,
    as_prediction,
    check_answer,
)
from ops.types import Prediction


class Size(Answer):
    """How large it is."""

    metres: float = Field(description="Its longest side.", json_schema_extra={"unit": "m"})
    note: str = Field(default="", description="A remark.")


def test_an_answer_is_a_row():
    """Label and score are columns; every other field is in the details; scores are rounded."""
    row = as_prediction("size", Size(label="large", score=0.12345678, metres=2.5))
    assert row == Prediction("size", "large", 0.123457, {"metres": 2.5, "note": ""})


@pytest.mark.parametrize(
    "changes",
    [
        *({"score": 1.1}, {"score": -0.1}, {"score": float("nan")}, {"metres": float("inf")}),
        *({"label": ""}, {"label": "x" * 501}, {"metres": "far"}, {"unknown": 1}),
    ],
)
def test_an_answer_outside_its_model_is_refused(changes):
    """So that a wrong number never becomes a row."""
    with pytest.raises(ValidationError):
        Size(**{"label": "large", "score": 0.5, "metres": 2.5} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        *({"label": "a\x00b"}, {"note": "a\x00b"}, {"note": "\\\x00"}, {"note": "\ud800"}),
        {"note": "я" * MAX_DETAILS_BYTES},
    ],
)
def test_what_postgresql_cannot_store_is_refused(changes):
    """It would fail the ad's commit instead of the task."""
    answer = Size(**{"label": "large", "score": 0.5, "metres": 2.5} | changes)
    with pytest.raises(ValueError, match=r"NUL|bytes|surrogates"):
        as_prediction("size", answer)


def test_a_backslash_and_the_digits_of_a_nul_are_text():
    """The six characters are no NUL."""
    row = as_prediction("size", Size(label="large", score=1, metres=0, note="\\u0000"))
    assert row.details["note"] == "\\u0000"


def test_the_schema_has_details_as_the_api_does():
    """With descriptions and units."""
    schema = answer_schema(Size)
    assert sorted(schema["properties"]) == ["details", "label", "score"]
    metres = schema["properties"]["details"]["properties"]["metres"]
    assert (metres["unit"], metres["description"]) == ("m", "Its longest side.")
    assert schema["description"] == "How large it is."
    assert "top" in answer_schema(CategoryAnswer)["properties"]["details"]["properties"]


def test_a_field_without_a_description_is_refused():
    class Silent(Answer):
        metres: float

    with pytest.raises(ConfigurationError, match="metres"):
        check_answer("size", Silent)
