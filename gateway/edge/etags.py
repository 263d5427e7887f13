"""Whether a caller has an answer already: `If-None-Match` against an ETag."""

from fastapi import Request


def unchanged(request: Request, etag: str) -> bool:
    """Whether the caller has the answer of this ETag already."""
    held = request.headers.get("if-none-match")
    if held is None:
        return False
    return any(part.strip().removeprefix("W/") in (etag, "*") for part in held.split(","))
