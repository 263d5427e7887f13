"""The address of a request: which paths and queries are refused, and the ad that a path names.

A framework reads a path loosely: it replaces bytes that are not UTF-8, takes "%2F" for "/", and its
`$` also matches before a final line break. So a path could lead to another ad than the caller's;
such a path is refused here.
"""

import re
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Path, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.problems import Problem, problem_response
from gateway.schemas.parameters import AdId, Catalog
from ops.types import AdKey

ADS = "/v1/ads/"
IDS = (ADS, "/v1/photos/")  # below these paths, a segment is a caller's id
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class PathMiddleware:
    """Refuses paths and queries that can't be read unambiguously; the innermost middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] == "http":
            problem = _refusal(scope)
            if problem is not None:
                await problem_response(Request(scope), problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _refusal(scope: Scope) -> Problem | None:
    path: str = scope["path"]
    raw = bytes(scope.get("raw_path") or b"")
    if "\ufffd" in path and not _is_utf8(raw):
        return Problem(404, "no_such_path", "this path does not exist: it is not UTF-8")
    control = _CONTROL.search(path)
    if control is not None and path.startswith(IDS):
        return _invalid(
            "path",
            f"the path contains the control character U+{ord(control[0]):04X}: no id contains one",
        )
    if control is not None:
        return Problem(404, "no_such_path", "this path does not exist: it has a control character")
    if b"%" in scope["query_string"] and not _is_utf8(scope["query_string"]):
        return _invalid("query", "the query is not UTF-8")
    if path.startswith(ADS) and b"%2f" in _catalog(raw).lower():
        return _invalid("path.catalog", "the catalog contains '/', which no catalog contains")
    return None


def _invalid(at: str, detail: str) -> Problem:
    return Problem(422, "invalid", detail, errors=[{"at": at, "expected": detail}])


def _catalog(raw_path: bytes) -> bytes:
    """The catalog in the path of an ad, as it was sent; empty if the path was sent otherwise."""
    start, _, rest = raw_path.partition(ADS.encode())
    return rest.partition(b"/")[0] if start == b"" else b""


def _is_utf8(quoted: bytes) -> bool:
    try:
        unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        return False
    return True


async def ad_key(catalog: Annotated[Catalog, Path()], ad_id: Annotated[AdId, Path()]) -> AdKey:
    """The ad that a path names, as a dependency."""
    return AdKey(catalog, ad_id)


AdInPath = Annotated[AdKey, Depends(ad_key)]
