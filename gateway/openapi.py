"""The OpenAPI document, made true in one place: keys, and the errors that any route may answer.

Decides what every route below /v1 has in common, so that no route repeats it. A route's own answers
are declared where it is.
"""

from typing import Any

from fastapi import FastAPI, routing

from gateway.edge.auth import Allowed
from gateway.problems import MEDIA_TYPE
from gateway.schemas.ads import ProblemOut

PROBLEM_REF = "#/components/schemas/ProblemOut"
PROBLEM_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": PROBLEM_REF}}}
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "lv_<id>_<secret>",
        "description": "An API key: `lalafo keys make NAME` prints one.",
    },
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same."},
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]
KEY_ERRORS = {
    "401": "No key, or one that is not valid.",
    "403": "The key may not do this: `scopes` or `catalogs` say what it may.",
    "429": "Too many requests of this key; Retry-After says when to come back.",
    "503": "A server that this needs is away. Nothing was changed: send it again.",
}
BODY_ERRORS = {
    "400": "The body can't be read.",
    "413": "The body is too large: `allowed` is how much may be sent, in bytes.",
    "415": "The body is of another type than what is read here.",
    "422": "A field is wrong: `errors` has a line for each.",
}
RETRY_AFTER = {
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds.", "required": True}
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _amended(FastAPI.openapi(app), _scopes(app))
    return app.openapi_schema


def _amended(made: dict[str, Any], scopes: dict[tuple[str, str], str]) -> dict[str, Any]:
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["ProblemOut"] = ProblemOut.model_json_schema()
    for framework_own in ("HTTPValidationError", "ValidationError"):
        schemas.pop(framework_own, None)
    components["securitySchemes"] = SECURITY_SCHEMES
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            scope = scopes.get((path, method))
            if scope is not None:
                operation["security"] = SECURITY
                message = f"The key's scopes must hold `{scope}`."
                operation["description"] = (
                    f"{operation.get('description', '')}\n\n{message}".strip()
                )
            _declare_errors(operation, of_ours=path.startswith("/v1/"), with_key=scope is not None)
    return made


def _declare_errors(operation: dict[str, Any], *, of_ours: bool, with_key: bool) -> None:
    responses: dict[str, Any] = operation["responses"]
    for status, response in responses.items():
        shape = response.get("content", {}).get("application/json", {}).get("schema", {})
        name = shape.get("$ref", "").rpartition("/")[2]
        if name == "HTTPValidationError" or (of_ours and status >= "4"):
            responses[status] = {**response, "content": PROBLEM_CONTENT}
    if not of_ours:  # the original's routes have a shape of their own, and declare it
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
    """By path and method: the scope that the route's own dependency asks for."""
    found: dict[tuple[str, str], str] = {}
    for route in routing.iter_route_contexts(app.routes):
        for dependency in getattr(getattr(route, "dependant", None), "dependencies", ()):
            if isinstance(dependency.call, Allowed):
                for method in route.methods or ():
                    found[str(route.path_format), method.lower()] = dependency.call.scope
    return found
