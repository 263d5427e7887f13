"""Conditional requests: compare `If-None-Match` with an ETag."""

from fastapi import Request


def unchanged(request: Request, etag: str) -> bool:
    """Whether the request's `If-None-Match` contains this ETag: then the response is 304."""
    header = request.headers.get("if-none-match")
    if header is None:
        return False
    return any(part.strip().removeprefix("W/") in (etag, "*") for part in header.split(","))
