"""Serves the page: files of this package, told by name and nothing else.

Decides that no name becomes a path, and that a browser asks each time whether a file is newer.
Refuses to know what the page shows; that is between its modules and the API.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.edge.etags import unchanged
from gateway.problems import Problem

FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {"Cache-Control": "no-cache"}  # asked after each time, and answered 304 by its ETag

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file, as it is sent."""

    data: bytes
    media_type: str
    etag: str


@cache
def page_files() -> dict[str, PageFile]:
    """The page's files by name, read once a process."""
    return {path.name: _read(path) for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES}


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """The page itself."""
    return _sent(request, "index.html")


@router.api_route("/docs", methods=["GET", "HEAD"])
def documentation(request: Request) -> Response:
    """The API's documentation, drawn from /v1/openapi.json."""
    return _sent(request, "docs.html")


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
def file(request: Request, name: str) -> Response:
    """A stylesheet, a module or a picture of the page."""
    return _sent(request, name)


def _sent(request: Request, name: str) -> Response:
    found = page_files().get(name)
    if found is None:
        raise Problem(404, "no_such_path", "the page has no such file")
    headers = {**HEADERS, "ETag": found.etag}
    if unchanged(request, found.etag):
        return Response(status_code=304, headers=headers)
    return Response(found.data, media_type=found.media_type, headers=headers)


def _read(path: Path) -> PageFile:
    data = path.read_bytes()
    return PageFile(data, MEDIA_TYPES[path.suffix], f'"{sha256(data).hexdigest()[:32]}"')
