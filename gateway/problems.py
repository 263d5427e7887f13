"""Error responses: problem details (RFC 9457), one shape for every error.

Owns what a caller may read: what was received, what is allowed, what to do. A response never
contains a stack trace, a secret or an internal address.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, routing
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ops.errors import BadInputError, LalafoError, RetryableError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
ORIGINAL = ("/classify", "/v4/")  # below these paths, errors have the original API's shape
_MAX_ERRORS = 20
_MAX_VALUE_CHARS = 80
_MAX_TEXT_CHARS = 300
_MAX_PATH_CHARS = 500

log = logging.getLogger(__name__)


class Problem(Exception):
    """An error response. Raise it from a route or from anything that a route calls.

    Args:
        kind: a short, stable code for programs: the last part of the problem's `type`.
        detail: what was received, what was expected, what to do.
        more: further members of the problem document; JSON values.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def body(self, instance: str) -> dict[str, Any]:
        """The members of the problem document."""
        return {
            "type": f"urn:lalafo:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **self.more,
        }


def unavailable(what: str, *, retry_after_s: int = RETRY_AFTER_S) -> Problem:
    """503: a required service is unavailable; `what` names it in the problem's detail."""
    return Problem(
        503,
        "unavailable",
        f"{what} is unavailable; nothing was changed. Send the same request again.",
        headers={"Retry-After": str(retry_after_s)},
    )


def stopping() -> Problem:
    """503: the server stops before the request has ended."""
    return Problem(
        503,
        "stopping",
        "the gateway stops, and this request did not end in time. Send the same request again, "
        "with the same revision or Idempotency-Key if it has one.",
        headers={"Retry-After": str(RETRY_AFTER_S), "Connection": "close"},
    )


def broken() -> Problem:
    """500: a bug or a wrong setting; only the log says which."""
    return Problem(500, "internal_error", "Internal error; the gateway's log has the details.")


def problem_response(request: Request, problem: Problem) -> Response:
    """The problem as a response; routes of the original API get that API's shape."""
    original = request.scope["path"].startswith(ORIGINAL)
    body = problem.body(request_path(request)) if not original else original_shape(problem)
    media_type = MEDIA_TYPE if not original else "application/json"
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(
        # A value from the request may contain a lone surrogate: written as an escape, it is valid
        # JSON.
        text.encode("utf-8", "backslashreplace"),
        status_code=problem.status,
        headers=problem.headers,
        media_type=media_type,
    )


def original_shape(problem: Problem) -> dict[str, Any]:
    """The error in the shape of the original API."""
    return {"Status": "Error", "Message": problem.detail}


def request_path(request: Request) -> str:
    """The path as it was sent, truncated.

    It is read from the scope: `request.url` raises an error for a malformed Host header.
    """
    raw = request.scope.get("raw_path") or request.scope["path"].encode("utf-8", "replace")
    return str(raw[:_MAX_PATH_CHARS].decode("ascii", "backslashreplace"))


def install(app: FastAPI) -> None:
    """Register handlers that answer every error of the app's routes with a problem document.

    Unexpected exceptions are handled by `gateway/edge/request_context.py`.
    """
    app.add_exception_handler(Problem, _handle_problem)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(LalafoError, _handle_lalafo_error)


async def _handle_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(request, error)


async def _handle_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if isinstance(error.body, bytes):  # its Content-Type is not JSON, so it was not parsed
        problem = not_json_type(request.headers.get("content-type"))
        return problem_response(request, problem)
    if errors and errors[0]["type"] == "json_invalid":
        at, why = errors[0]["loc"][-1], errors[0]["ctx"]["error"]
        problem = Problem(400, "not_json", f"the body is not valid JSON, at {at}: {why}")
        return problem_response(request, problem)
    return problem_response(request, invalid(errors))


def not_json_type(content_type: str | None) -> Problem:
    """415: the body's Content-Type is not JSON."""
    received = (
        "no Content-Type" if content_type is None else f"Content-Type {_shortened(content_type)}"
    )
    return Problem(415, "wrong_type", f"{received}: expected application/json")


def invalid(errors: Sequence[Any]) -> Problem:
    """422, with an entry for each of pydantic's errors: where, what is expected, what came."""
    lines = [_line(item) for item in errors[:_MAX_ERRORS]]
    first = lines[0] if lines else {"at": "body", "expected": "a valid request"}
    detail = f"{first['at']}: {first['expected']}"
    if len(errors) > 1:
        detail += f" (and {len(errors) - 1} more)"
    return Problem(422, "invalid", detail, errors=lines)


def _line(item: Any) -> dict[str, Any]:
    """The entry of one of pydantic's errors; `allowed` lists the fields where one is unknown."""
    message, more = item["msg"], {}
    if "allowed" in item:
        name, allowed = str(item["loc"][-1]), item["allowed"]
        message = f"no unknown field{did_you_mean(name, allowed)}; allowed: {', '.join(allowed)}"
        more = {"allowed": allowed}
    return {
        "at": _truncated(".".join(str(part) for part in item["loc"])),
        "expected": _truncated(message),
        "came": _shortened(item.get("input")),
        **more,
    }


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Part of a message about an unknown name: the nearest known one, if one is near."""
    nearest = get_close_matches(name[:_MAX_VALUE_CHARS].lower(), known, n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


async def _handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem_response(request, _http_problem(request, error))


def _http_problem(request: Request, error: HTTPException) -> Problem:
    """The framework's own HTTP error as a problem."""
    headers = error.headers
    match error.status_code:
        case 404:
            detail = "this path does not exist; /v1/openapi.json lists every path"
            return Problem(404, "no_such_path", detail, headers=headers)
        case 405:
            allowed = ", ".join(_methods(request))
            detail = f"{request.method} is not allowed for this path; allowed: {allowed}"
            return Problem(405, "method_not_allowed", detail, headers={"Allow": allowed})
        case 400:
            detail = "the body can't be read: expected the format of its Content-Type, in UTF-8"
            return Problem(400, "unreadable", detail, headers=headers)
        case status:
            return Problem(status, "refused", str(error.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """The methods of every route that matches the path; the framework names only the first's."""
    path = request.scope["path"]
    return sorted(
        method
        for route in routing.iter_route_contexts(request.app.routes)
        if route.path_regex.match(path)
        for method in route.methods or ()
    )


async def _handle_lalafo_error(request: Request, error: Exception) -> Response:
    if isinstance(error, BadInputError):
        problem = Problem(422, "invalid", error.detail, reason=error.reason.value)
        return problem_response(request, problem)
    if isinstance(error, RetryableError):
        log.warning("%s: %s", request_path(request), error)
        return problem_response(request, unavailable("a required service"))
    log.error("%s failed: %s", request_path(request), error, exc_info=error)
    return problem_response(request, broken())


def _shortened(value: Any) -> str:
    """A value's `repr`, truncated so that a response may contain it."""
    text = repr(value)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]}…"


def _truncated(text: str) -> str:
    return text if len(text) <= _MAX_TEXT_CHARS else f"{text[:_MAX_TEXT_CHARS]}…"
