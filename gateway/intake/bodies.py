"""Reads a JSON body as a request model, with the reader of the stream's records.

Owns the errors of a body: what came at which field, and which fields there are. Does not depend on
which route the body belongs to.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from gateway.problems import Problem, invalid, not_json_type
from gateway.schemas.requests import known_fields
from ops.errors import BadInputError, Reason
from ops.events.json_bytes import read_object
from ops.events.parse import EventLimits

Model = TypeVar("Model", bound=BaseModel)


def read_body(body: bytes, model: type[Model], limits: EventLimits) -> Model:
    """Read and validate a body.

    Raises:
        Problem: 422, it is not a JSON object, or a field is not valid.
    """
    try:
        fields = read_object(body, strip_framing=limits.strip_framing)
    except BadInputError as error:
        raise _not_an_object(422, "invalid", error) from error
    return validated(fields, model)


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema without references, for a body that FastAPI does not parse."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return inline(definitions[part["$ref"].rpartition("/")[2]])
            return {name: inline(value) for name, value in part.items()}
        return [inline(item) for item in part] if isinstance(part, list) else part

    inlined_schema: dict[str, Any] = inline(schema)
    return inlined_schema


async def read_json(request: Request, model: type[Model], limits: EventLimits) -> Model:
    """Read and validate the body of a request whose Content-Type must be JSON.

    Raises:
        Problem: 415, 400 or 422.
    """
    content_type = request.headers.get("content-type")
    if not _is_json(content_type):
        raise not_json_type(content_type)
    try:
        fields = read_object(await request.body(), strip_framing=limits.strip_framing)
    except BadInputError as error:
        if error.reason is Reason.EVENT_NOT_OBJECT:
            raise _not_an_object(422, "invalid", error) from error
        raise _not_an_object(400, "not_json", error) from error
    return validated(fields, model)


def validated(fields: dict[str, Any], model: type[Model]) -> Model:
    """Validate the fields of a body.

    Raises:
        Problem: 422, with an entry for each field that is not valid.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        raise invalid([_located(item, model) for item in errors]) from error


def _not_an_object(status: int, kind: str, error: BadInputError) -> Problem:
    line = {"at": "body", "expected": error.detail}
    reason = error.reason.value
    return Problem(status, kind, f"body: {error.detail}", reason=reason, errors=[line])


def _located(item: Any, model: type[BaseModel]) -> dict[str, Any]:
    path: Sequence[Any] = item["loc"]
    more = {}
    if item["type"] == "extra_forbidden":
        more["allowed"] = known_fields(model, tuple(path[:-1]))
    return {**item, **more, "loc": ("body", *path)}


def _is_json(content_type: str | None) -> bool:
    kind = ("" if content_type is None else content_type).partition(";")[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
