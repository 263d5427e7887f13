"""Errors as callers get them: problem details (RFC 9457), one shape for every refusal.

Decides what a caller may read: what came, what is allowed, what to do. Never a stack trace, a
secret or where anything is inside.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from ops.errors import BadInputError, LalafoError, RetryableError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
_MOST_ERRORS = 20
_MOST_SHOWN_CHARS = 80

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


def away(what: str, *, retry_after_s: int = RETRY_AFTER_S) -> Problem:
    """503: something that the answer needs is away; `what` is told to the caller."""
    return Problem(
        503,
        "away",
        f"{what} is away; nothing was changed. Send the same request again.",
        headers={"Retry-After": str(retry_after_s)},
    )


def answer(request: Request, problem: Problem) -> Response:
    """The problem as a response; the original's routes have a shape of their own."""
    shape = getattr(request.state, "problem_shape", None)
    body = problem.body(request.url.path) if shape is None else shape(problem)
    media_type = MEDIA_TYPE if shape is None else "application/json"
    return JSONResponse(
        body, status_code=problem.status, headers=problem.headers, media_type=media_type
    )


def install(app: FastAPI) -> None:
    """Let every error of the app's routes become a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(LalafoError, _ours)
    app.add_exception_handler(Exception, _broken)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer(request, invalid(error.errors()))


def invalid(errors: Sequence[Any]) -> Problem:
    """422, with a line for each of pydantic's errors: where, what came, what is expected."""
    lines = [
        {
            "at": ".".join(str(part) for part in item["loc"]),
            "expected": item["msg"],
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
    kinds = {404: "no_such_path", 405: "method_not_allowed", 413: "too_large"}
    kind = kinds.get(error.status_code, "refused")
    problem = Problem(error.status_code, kind, str(error.detail), headers=error.headers)
    return answer(request, problem)


async def _ours(request: Request, error: Exception) -> Response:
    if isinstance(error, BadInputError):
        problem = Problem(422, "invalid", error.detail, reason=error.reason.value)
        return answer(request, problem)
    log.warning("%s failed: %s", request.url.path, error)
    if isinstance(error, RetryableError):
        return answer(request, away("a server that this needs"))
    return answer(request, Problem(500, "broken", "Something is wrong here; the log says what."))


async def _broken(request: Request, error: Exception) -> Response:
    log.error("%s broke: %r", request.url.path, error)
    return answer(request, Problem(500, "broken", "Something is wrong here; the log says what."))


def _shown(value: Any) -> str:
    """A value as an answer may show it: short, and as it was written."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN_CHARS else f"{text[:_MOST_SHOWN_CHARS]}…"
