"""The document has a schema for each task's predictions, and is the same without tasks."""

from copy import deepcopy

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from gateway.openapi import with_tasks
from gateway.schemas.ads import AdOut
from ops.tasks import Answer
from ops.tasks.contract.answer import answer_schema


class Box(BaseModel):
    left: float


class Regions(Answer):
    """Where it is."""

    boxes: list[Box] = Field(description="The regions.", json_schema_extra={"unit": "pixel"})


def document() -> dict:
    app = FastAPI()

    @app.get("/ad")
    def ad() -> AdOut: ...

    return app.openapi()


def test_each_task_has_a_schema() -> None:
    """Named by the task, with its description, its units, and the models within it."""
    base = document()
    before = deepcopy(base)
    found = with_tasks(base, {"regions": answer_schema(Regions), "plain": answer_schema(Answer)})
    assert base == before
    schemas = found["components"]["schemas"]
    predictions = schemas["AdOut"]["properties"]["predictions"]
    assert predictions["properties"]["regions"] == {
        "$ref": "#/components/schemas/Prediction_regions"
    }
    schema = schemas["Prediction_regions"]
    assert schema["description"] == "Where it is."
    assert schema["properties"]["task"]["const"] == "regions"
    assert {"revision", "release", "run", "scored_at"} <= set(schema["properties"])
    boxes = schema["properties"]["details"]["properties"]["boxes"]
    assert (boxes["unit"], boxes["items"]) == (
        "pixel",
        {"$ref": "#/components/schemas/Prediction_regions_Box"},
    )
    assert "left" in schemas["Prediction_regions_Box"]["properties"]
    assert schemas["Prediction_plain"]["properties"]["details"]["properties"] == {}
    assert schemas["Prediction"]["discriminator"] == {
        "propertyName": "task",
        "mapping": {
            "plain": "#/components/schemas/Prediction_plain",
            "regions": "#/components/schemas/Prediction_regions",
        },
    }
    assert schemas["AdOut"]["properties"]["predictions"]["additionalProperties"] == {
        "$ref": "#/components/schemas/Prediction"
    }


@pytest.mark.parametrize(
    ("task", "details", "is_valid"),
    [
        ("regions", {"boxes": []}, True),
        ("regions", {}, False),
        ("plain", {}, True),
        ("of_somebody", {"any": 1}, True),
        (None, {}, False),
    ],
)
def test_a_prediction_has_the_shape_that_its_task_names(
    task: str | None, details: dict[str, object], is_valid: bool
):
    """By a validator of JSON Schema: exactly one of the shapes fits, or none."""
    found = with_tasks(
        document(), {"regions": answer_schema(Regions), "plain": answer_schema(Answer)}
    )
    prediction = {
        **{"label": "x", "score": 0.5, "path": ["x"], "details": details, "revision": 1},
        **{"release": {"id": "r"}, "run": {"id": "r"}, "scored_at": "2026-05-01T12:00:00Z"},
        **({} if task is None else {"task": task}),
    }
    schema = {**found, "$ref": "#/components/schemas/Prediction"}
    assert Draft202012Validator(schema).is_valid(prediction) is is_valid


def test_without_tasks_it_is_unchanged() -> None:
    """As on a gateway that can't reach PostgreSQL."""
    base = document()
    assert with_tasks(base, {}) is base
