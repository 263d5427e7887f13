"""What a client's call can end with, one tree:

    LalafoApiError      whatever an answer said that was not a success
    ├── NotAllowed      401, 403: no key, or one that may not
    ├── NotFound        404: there is no such ad, photo or path
    ├── Refused         any other 4xx: what was sent can't be taken; the detail says why
    ├── RateLimited     429, still so when the patience was spent
    ├── Away            5xx or no answer at all, still so when the patience was spent
    └── Late            `score_ad`, `wait_for`: accepted, and not scored within the time given

Decides which answer is which; refuses to know who asks again, and when.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx

from ops.errors import LalafoError

_MOST_SHOWN_CHARS = 200


class LalafoApiError(LalafoError):
    """The root.

    Attributes:
        status: of the answer; None where none came.
        kind: stable and short, for programs: the last part of the problem's `type`.
        detail: what came, what was expected, what to do; for people.
        problem: the answer's members as they came; empty where it was no problem document.
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
    """The key is missing, wrong, or not for this."""


class NotFound(LalafoApiError):
    """There is no such thing."""


class Refused(LalafoApiError):
    """What was sent can't be taken; sending it again changes nothing."""


class RateLimited(LalafoApiError):
    """The key's share was used up for longer than the patience."""


class ServiceUnavailable(LalafoApiError):
    """The gateway, or something that it needs, was away for longer than the patience."""


class Late(LalafoApiError):
    """The ad is accepted and will be scored; it was not within the time that was given."""


def error_of(answer: httpx.Response) -> LalafoApiError:
    """The error that an answer is; it must have been read, and be no success."""
    problem = _problem(answer)
    kind = str(problem.get("type", "")).rpartition(":")[2] or _phrase(answer.status_code)
    detail = problem.get("detail")
    if not isinstance(detail, str):
        came = answer.text[:_MOST_SHOWN_CHARS]
        detail = f"{answer.request.url.path} answered without a problem document: {came!r}"
    return _class_of(answer.status_code)(
        detail, kind=kind, status=answer.status_code, problem=problem
    )


def no_answer(error: httpx.RequestError, url: httpx.URL) -> ServiceUnavailable:
    """The error where a gateway did not answer."""
    # Of the address only what has no secrets in it.
    where = f"{url.scheme}://{url.host}" + ("" if url.port is None else f":{url.port}")
    why = str(error) or type(error).__name__
    return ServiceUnavailable(f"no answer from {where}: {why}", kind="no_answer")


def unreadable(answer: httpx.Response, why: str) -> LalafoApiError:
    """The error where an answer is a success, and not one of this API's."""
    return LalafoApiError(
        f"{answer.request.url.path} is no answer of this API's version 1: {why}",
        kind="unreadable",
        status=answer.status_code,
    )


def may_pass(error: LalafoApiError) -> bool:
    """Whether the same request may be answered later."""
    return isinstance(error, ServiceUnavailable | RateLimited)


def _class_of(status: int) -> type[LalafoApiError]:
    by_status = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 429: RateLimited}
    if status in by_status:
        return by_status[status]
    if 400 <= status < 500:
        return Refused
    # 501 says "never"; 3xx and the rest are no answers of a gateway.
    return (
        ServiceUnavailable
        if status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED
        else LalafoApiError
    )


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:  # not JSON, or not UTF-8
        return {}
    return body if isinstance(body, dict) else {}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower().replace(" ", "_")
    except ValueError:
        return "unknown"
