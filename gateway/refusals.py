"""What the OpenAPI document says of refusals: each status that a route can answer, as a problem.

Decides the words for each status; what is raised, and when, is the routes' own.
"""

from typing import Any

from gateway.problems import MEDIA_TYPE
from gateway.schemas import ProblemOut

_WORDS = {
    400: "The request can't be read.",
    401: "No key, or none that is known.",
    403: "This key may not do that.",
    404: "There is none.",
    409: "It contradicts what is known.",
    411: "The body's length is missing.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken.",
    422: "What came is not valid; `errors` or `reason` say where and why.",
    429: "Too many requests; Retry-After says when to go on.",
    500: "Something is wrong here; nothing is told of it but that.",
    503: "A server that this needs is away; Retry-After says when to ask again.",
}
_EVERYWHERE = (401, 403, 422, 429, 503)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses=`: the statuses given, and those that every route behind a key has."""
    schema = ProblemOut.model_json_schema()
    return {
        status: {
            "description": _WORDS[status],
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in sorted({*_EVERYWHERE, *statuses})
    }
