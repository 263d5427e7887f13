"""Refuses query parameters that a route does not have, or that are sent twice.

Ignored, a misspelt parameter changes what a request does: `?revison=5` would delete an ad under
another revision. Applies to the routes of version 1; those of the original API ignore parameters.
"""

from typing import Any

from fastapi import Request

from gateway.problems import Problem, did_you_mean

_MAX_SHOWN_CHARS = 80


async def only_known_parameters(request: Request) -> None:
    """A dependency of every route of version 1.

    Raises:
        Problem: 422, with the names that are not known and those that are.
    """
    sent = [name for name, _ in request.query_params.multi_items()]
    if not sent:
        return
    known = sorted(_names(request.scope["route"].dependant))
    unknown = [name for name in dict.fromkeys(sent) if name not in known]
    if unknown:
        shown = [name[:_MAX_SHOWN_CHARS] for name in unknown]
        raise Problem(
            422,
            "unknown_parameter",
            f"unknown query parameter {shown[0]!r}{did_you_mean(unknown[0], known)}; "
            + (f"this route has {', '.join(known)}" if known else "this route has none"),
            parameters=shown,
            allowed=known,
        )
    twice = next((name for name in sent if sent.count(name) > 1), None)
    if twice is not None:
        raise Problem(
            422,
            "repeated_parameter",
            f"the query parameter {twice!r} was sent {sent.count(twice)} times, expected once",
            parameters=[twice],
        )


def _names(dependant: Any) -> set[str]:
    """The query parameters of a route and of its dependencies."""
    found = {str(field.alias) for field in dependant.query_params}
    for dependency in dependant.dependencies:
        found |= _names(dependency)
    return found
