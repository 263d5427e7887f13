"""The exceptions of the client:

    LalafoApiError          any response that is not a success
    ├── NotAllowed          401, 403: the key is missing, not valid, or not allowed to do this
    ├── NotFound            404: the ad, photo or path does not exist
    ├── Refused             any other 4xx: the request is not valid; the detail says why
    ├── RateLimited         429, still after `patience_s`
    ├── ServiceUnavailable  5xx or no response, still after `patience_s`
    └── ScoringTimeout      `score_ad`, `wait_for`: accepted, but not scored in time

Owns how a response becomes an exception. The retry policy is in `retry.py`.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx

from ops.errors import LalafoError

_MAX_SHOWN_CHARS = 200


class LalafoApiError(LalafoError):
    """The base class of the client's exceptions.

    Attributes:
        status: the response's status; None if there was no response.
        kind: a short, stable code for programs: the last part of the problem's `type`.
        detail: what was received, what was expected and what to do; for people.
        problem: the members of the problem document; empty if the response was not one.
    """

    def __init__(
        self,
        detail: str,
        *,
        kind: str,
        status: int | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        message = kind if status is None else f"{status} {kind}"
        super().__init__(f"{message}: {detail}")
        self.status = status
        self.kind = kind
        self.detail = detail
        self.problem = dict({} if problem is None else problem)


class NotAllowed(LalafoApiError):
    """The key is missing, not valid, or does not allow the request."""


class NotFound(LalafoApiError):
    """The ad, photo or path does not exist."""


class Refused(LalafoApiError):
    """The request is not valid; retrying it has no effect."""


class RateLimited(LalafoApiError):
    """The key exceeded its rate limit for longer than `patience_s`."""


class ServiceUnavailable(LalafoApiError):
    """The gateway, or a service that it needs, was unavailable for longer than `patience_s`."""


class ScoringTimeout(LalafoApiError):
    """The ad was not scored in time; if it was accepted, it will be scored later."""


def error_of(response: httpx.Response) -> LalafoApiError:
    """Convert a response that is not a success; its body must have been read."""
    problem = _problem(response)
    kind = str(problem.get("type", "")).rpartition(":")[2] or _phrase(response.status_code)
    detail = problem.get("detail")
    if not isinstance(detail, str):
        body = response.text[:_MAX_SHOWN_CHARS]
        detail = f"{response.request.url.path} returned no problem document: {body!r}"
    return _class_of(response.status_code)(
        detail, kind=kind, status=response.status_code, problem=problem
    )


def no_answer(error: httpx.RequestError, url: httpx.URL) -> ServiceUnavailable:
    """The exception for a request without a response."""
    # Only the scheme, host and port: the rest of the URL may contain secrets.
    where = f"{url.scheme}://{url.host}" + ("" if url.port is None else f":{url.port}")
    why = str(error) or type(error).__name__
    return ServiceUnavailable(f"no response from {where}: {why}", kind="no_answer")


def unreadable(response: httpx.Response, why: str) -> LalafoApiError:
    """The exception for a success whose body is not a response of this API."""
    return LalafoApiError(
        f"{response.request.url.path} did not return a response of API version 1: {why}",
        kind="unreadable",
        status=response.status_code,
    )


def is_retryable(error: LalafoApiError) -> bool:
    """Whether the same request may succeed later."""
    return isinstance(error, ServiceUnavailable | RateLimited)


def _class_of(status: int) -> type[LalafoApiError]:
    by_status = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 429: RateLimited}
    if status in by_status:
        return by_status[status]
    if 400 <= status < 500:
        return Refused
    # 501 is permanent; a gateway does not send 3xx or other statuses.
    return (
        ServiceUnavailable
        if status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED
        else LalafoApiError
    )


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:  # not JSON, or not UTF-8
        return {}
    return body if isinstance(body, dict) else {}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower().replace(" ", "_")
    except ValueError:
        return "unknown"
