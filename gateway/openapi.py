"""The OpenAPI document: FastAPI's, plus the security schemes and the errors of every route.

Owns what the routes below /v1 have in common, so that no route repeats it. A route declares only
its own responses.
"""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, routing

from gateway.edge.auth import RequireScope
from gateway.problems import MEDIA_TYPE
from gateway.schemas.ads import ProblemOut

PROBLEM_REF = "#/components/schemas/ProblemOut"
PROBLEM_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": PROBLEM_REF}}}
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "lv_<id>_<secret>",
        "description": "An API key. `lalafo keys make NAME` creates one.",
    },
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same API key, in a header of its own.",
    },
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]
KEY_ERRORS = {
    "401": "The API key is missing or not valid.",
    "403": "The key does not allow this request. `scopes` or `catalogs` lists what it allows.",
    "429": "The key has sent too many requests. Retry after the time in `Retry-After`.",
    "503": "A required service is unavailable. Nothing was changed; send the request again.",
}
BODY_ERRORS = {
    "400": "The body can't be read.",
    "413": "The body is too large. `allowed` is the limit in bytes.",
    "415": "The body's format is not supported.",
    "422": "A field is not valid. `errors` has one entry for each.",
}
RETRY_AFTER = {
    "Retry-After": {
        "schema": {"type": "integer"},
        "description": "Seconds to wait before the next attempt.",
        "required": True,
    }
}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document; it is created once and cached in `app.openapi_schema`."""
    if app.openapi_schema is None:
        app.openapi_schema = _extended(FastAPI.openapi(app), _scopes(app))
    return app.openapi_schema


def with_tasks(
    document: dict[str, Any], answers: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the document with a schema `Prediction_<task>` for each task's predictions.

    `Prediction` is one of them, by its `task`; those of a task that has no schema here are
    `Prediction_other`. The given document is not changed.

    Args:
        answers: JSON Schema of `label`, `score` and `details` by task.
    """
    if not answers:
        return document
    schemas: dict[str, Any] = dict(document["components"]["schemas"])
    general, ad = schemas["PredictionOut"], schemas["AdOut"]
    for task, answer in answers.items():
        name = f"Prediction_{task}"
        # Models within the answer become components of the document.
        own = json.loads(json.dumps(answer).replace("#/$defs/", f"#/components/schemas/{name}_"))
        schemas |= {f"{name}_{key}": value for key, value in own.get("$defs", {}).items()}
        schemas[name] = {
            **general,
            "title": name,
            "description": own.get("description", general["description"]),
            "properties": {
                **general["properties"],
                **own["properties"],
                "task": {**_task_of(general), "const": task},
            },
            "required": sorted({"task", *general["required"]}),
        }
    schemas["Prediction_other"] = {
        **general,
        "title": "Prediction_other",
        "properties": {
            **general["properties"],
            "task": {**_task_of(general), "not": {"enum": sorted(answers)}},
        },
        "required": sorted({"task", *general["required"]}),
    }
    by_task = {task: f"#/components/schemas/Prediction_{task}" for task in answers}
    schemas["Prediction"] = {
        "title": "Prediction",
        "description": "The prediction of a task, of the shape that `task` names.",
        "oneOf": [
            *({"$ref": reference} for reference in by_task.values()),
            {"$ref": "#/components/schemas/Prediction_other"},
        ],
        "discriminator": {"propertyName": "task", "mapping": by_task},
    }
    predictions = {
        **ad["properties"]["predictions"],
        "properties": {task: {"$ref": reference} for task, reference in by_task.items()},
        "additionalProperties": {"$ref": "#/components/schemas/Prediction"},
    }
    schemas["AdOut"] = {**ad, "properties": {**ad["properties"], "predictions": predictions}}
    return {**document, "components": {**document["components"], "schemas": schemas}}


def _task_of(general: Mapping[str, Any]) -> dict[str, Any]:
    """The field `task` without a default: the gateway always sends it."""
    field: Mapping[str, Any] = general["properties"]["task"]
    return {name: value for name, value in field.items() if name != "default"}


def _extended(schema: dict[str, Any], scopes: dict[tuple[str, str], str]) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["ProblemOut"] = ProblemOut.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = SECURITY_SCHEMES
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            scope = scopes.get((path, method))
            if scope is not None:
                operation["security"] = SECURITY
                message = f"Requires a key with the scope `{scope}`."
                operation["description"] = (
                    f"{operation.get('description', '')}\n\n{message}".strip()
                )
            _declare_errors(
                operation, versioned=path.startswith("/v1/"), with_key=scope is not None
            )
    return schema


def _declare_errors(operation: dict[str, Any], *, versioned: bool, with_key: bool) -> None:
    responses: dict[str, Any] = operation["responses"]
    for status, response in responses.items():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        if name == "HTTPValidationError" or (versioned and status >= "4"):
            responses[status] = {**response, "content": PROBLEM_CONTENT}
    if not versioned:  # the original API's routes declare their own error schema
        return
    common = {
        **(KEY_ERRORS if with_key else {}),
        **(BODY_ERRORS if "requestBody" in operation else {}),
    }
    for status, description in common.items():
        declared = responses.setdefault(
            status, {"description": description, "content": PROBLEM_CONTENT}
        )
        if status in ("429", "503"):
            declared.setdefault("headers", RETRY_AFTER)


def _scopes(app: FastAPI) -> dict[tuple[str, str], str]:
    """Map (path, method) to the scope that the route's `RequireScope` dependency requires."""
    scopes: dict[tuple[str, str], str] = {}
    for route in routing.iter_route_contexts(app.routes):
        for dependency in getattr(getattr(route, "dependant", None), "dependencies", ()):
            if isinstance(dependency.call, RequireScope):
                for method in route.methods or ():
                    scopes[str(route.path_format), method.lower()] = dependency.call.scope
    return scopes
