"""The answer of a task: a pydantic model, from which rows, schemas and clients are derived.

Owns how an answer becomes a row of `predictions`. `label` and `score` are columns of their own;
every other field of the model is a key of the row's `details`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ops.errors import ConfigurationError
from ops.types import SCORE_DIGITS, Prediction

MAX_LABEL_CHARS = 500
MAX_DETAILS_BYTES = 64 * 1024  # of JSON, in UTF-8


class Answer(BaseModel):
    """What a task says about an ad; a task defines a subclass with its own fields.

    Each field needs a description, and a number with a unit `json_schema_extra={"unit": "…"}`.
    Fields are checked, and a wrong one fails the task for that ad alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: str = Field(
        min_length=1,
        max_length=MAX_LABEL_CHARS,
        description="The answer in one word or name: what lists, filters and statistics show.",
    )
    score: float = Field(
        ge=0,
        le=1,
        description="Confidence in the label, in [0, 1].",
        json_schema_extra={"unit": "share"},
    )


COLUMNS = ("label", "score")
"""The fields of an answer that are columns of `predictions`; the others are in `details`."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # as JSON has it, not behind another backslash


def as_prediction(task: str, answer: Answer) -> Prediction:
    """The row of an answer.

    Raises:
        ValueError: PostgreSQL can't store it (a NUL or a lone surrogate in a text), or its details
            are larger than MAX_DETAILS_BYTES.
    """
    details = answer.model_dump(mode="json", exclude=set(COLUMNS))
    text = json.dumps([answer.label, details], allow_nan=False, ensure_ascii=False)
    size = len(text.encode("utf-8"))  # raises for a lone surrogate
    if _NUL.search(text):
        raise ValueError(f"the answer of {task} has a text with a NUL")
    if size > MAX_DETAILS_BYTES:
        raise ValueError(
            f"the details of {task} have {size} bytes; {MAX_DETAILS_BYTES} are allowed"
        )
    return Prediction(task, answer.label, round(answer.score, SCORE_DIGITS), details)


def answer_of(model: type[Answer], row: Prediction) -> Answer:
    """The answer of a row: the same for one that was just made and for one that was stored.

    Raises:
        ValueError: the model does not accept it.
    """
    fields = {**row.details, "label": row.label, "score": round(row.score, SCORE_DIGITS)}
    return model.model_validate_json(json.dumps(fields, sort_keys=True))  # as jsonb has no order


def answer_schema(model: type[Answer]) -> dict[str, Any]:
    """The model's JSON Schema, with `details` as an object of its own, as the API has it."""
    schema = model.model_json_schema(mode="serialization")
    fields: Mapping[str, Any] = schema["properties"]
    details = {name: field for name, field in fields.items() if name not in COLUMNS}
    always = sorted(name for name in details if model.model_fields[name].is_required())
    return {
        "type": "object",
        "description": schema.get("description", ""),
        "properties": {
            **{name: fields[name] for name in COLUMNS},
            "details": {"type": "object", "properties": details, "required": always},
        },
        "required": [*COLUMNS, "details"],
        **({"$defs": schema["$defs"]} if "$defs" in schema else {}),
    }


def check_answer(task: str, model: type[Answer]) -> None:
    """Raise a ConfigurationError unless every field of a task's answer has a description."""
    missing = [name for name, field in model.model_fields.items() if not field.description]
    if missing:
        raise ConfigurationError(
            f"The answer of the task {task} has fields without a description: {missing}. Readers "
            "of the API and of Dagster see it: write Field(description=…)."
        )
