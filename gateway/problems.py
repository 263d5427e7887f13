"""Errors as callers get them: problem details (RFC 9457), one shape for every refusal.

Decides what a caller may read: what came, what is allowed, what to do. Never a stack trace, a
secret or where anything is inside.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, routing
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ops.errors import BadInputError, LalafoError, RetryableError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
ORIGINAL = ("/classify", "/v4/")  # below these, errors have the original's shape
_MOST_ERRORS = 20
_MOST_SHOWN_CHARS = 80
_MOST_TEXT_CHARS = 300
_MOST_PATH_CHARS = 500

log = logging.getLogger(__name__)


class Problem(Exception):
    """A refusal. Raise it anywhere below a route.

    Args:
        kind: stable and short, for programs: the last part of the problem's `type`.
        detail: what came, what was expected, what to do.
        more: further members of the answer, JSON.
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
        """The members of the answer."""
        return {
            "type": f"urn:lalafo:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **self.more,
        }


def unavailable(what: str, *, retry_after_s: int = RETRY_AFTER_S) -> Problem:
    """503: something that the answer needs is away; `what` is told to the caller."""
    return Problem(
        503,
        "unavailable",
        f"{what} is away; nothing was changed. Send the same request again.",
        headers={"Retry-After": str(retry_after_s)},
    )


def broken() -> Problem:
    """500: a bug, or a setting that is wrong; what it is stays in the log."""
    return Problem(500, "broken", "Something is wrong here; the log says what.")


def answer(request: Request, problem: Problem) -> Response:
    """The problem as a response; the original's routes have a shape of their own."""
    original = request.scope["path"].startswith(ORIGINAL)
    body = problem.body(shown_path(request)) if not original else original_shape(problem)
    media_type = MEDIA_TYPE if not original else "application/json"
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(
        # What a caller sent may hold half a surrogate pair: as an escape it is JSON all the same.
        text.encode("utf-8", "backslashreplace"),
        status_code=problem.status,
        headers=problem.headers,
        media_type=media_type,
    )


def original_shape(problem: Problem) -> dict[str, Any]:
    """The error as the original's API told it."""
    return {"Status": "Error", "Message": problem.detail}


def shown_path(request: Request) -> str:
    """The path as it was sent, cut; not by way of the URL, which an odd Host header breaks."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode("utf-8", "replace")
    return str(raw[:_MOST_PATH_CHARS].decode("ascii", "backslashreplace"))


def install(app: FastAPI) -> None:
    """Turn every error of the app's routes into a problem.

    Unexpected exceptions are handled by `gateway/edge/request_context.py`.
    """
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(LalafoError, _ours)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if isinstance(error.body, bytes):  # it was not told to be JSON, so nobody read it
        return answer(request, not_json_type(request.headers.get("content-type")))
    if errors and errors[0]["type"] == "json_invalid":
        at, why = errors[0]["loc"][-1], errors[0]["ctx"]["error"]
        return answer(request, Problem(400, "not_json", f"the body is no JSON, at {at}: {why}"))
    return answer(request, invalid(errors))


def not_json_type(content_type: str | None) -> Problem:
    """415: the body's type is not the one that is read here."""
    came = "no Content-Type" if content_type is None else f"Content-Type {_shown(content_type)}"
    return Problem(415, "wrong_type", f"{came}: expected application/json")


def invalid(errors: Sequence[Any]) -> Problem:
    """422, with a line for each of pydantic's errors: where, what came, what is expected."""
    lines = [
        {
            "at": _cut(".".join(str(part) for part in item["loc"])),
            "expected": _cut(item["msg"]),
            "came": _shown(item.get("input")),
        }
        for item in errors[:_MOST_ERRORS]
    ]
    first = lines[0] if lines else {"at": "body", "expected": "a valid request"}
    detail = f"{first['at']}: {first['expected']}"
    if len(errors) > 1:
        detail += f" (and {len(errors) - 1} more)"
    return Problem(422, "invalid", detail, errors=lines)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return answer(request, _of_http(request, error))


def _of_http(request: Request, error: HTTPException) -> Problem:
    """What the framework refuses by itself, in our words."""
    headers = error.headers
    match error.status_code:
        case 404:
            detail = "there is no such path; /v1/openapi.json lists those that there are"
            return Problem(404, "no_such_path", detail, headers=headers)
        case 405:
            allowed = ", ".join(_methods(request))
            detail = f"{request.method} is not for this path, which has {allowed}"
            return Problem(405, "method_not_allowed", detail, headers={"Allow": allowed})
        case 400:
            detail = "the body can't be read: expected what its Content-Type says, text in UTF-8"
            return Problem(400, "unreadable", detail, headers=headers)
        case status:
            return Problem(status, "refused", str(error.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """Those that the path has, of all its routes: the framework tells the first one's alone."""
    path = request.scope["path"]
    return sorted(
        method
        for route in routing.iter_route_contexts(request.app.routes)
        if route.path_regex.match(path)
        for method in route.methods or ()
    )


async def _ours(request: Request, error: Exception) -> Response:
    if isinstance(error, BadInputError):
        problem = Problem(422, "invalid", error.detail, reason=error.reason.value)
        return answer(request, problem)
    if isinstance(error, RetryableError):
        log.warning("%s: %s", shown_path(request), error)
        return answer(request, unavailable("a server that this needs"))
    log.error("%s failed: %s", shown_path(request), error, exc_info=error)
    return answer(request, broken())


def _shown(value: Any) -> str:
    """A value as an answer may show it: short, and as it was written."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN_CHARS else f"{text[:_MOST_SHOWN_CHARS]}…"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TEXT_CHARS else f"{text[:_MOST_TEXT_CHARS]}…"
