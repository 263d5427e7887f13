"""Serves the web page: the static files of this package.

Files are looked up by name in a fixed table, so no request becomes a path in the file system. The
browser revalidates a file each time it uses it. Does not depend on what the page shows.
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
HEADERS = {"Cache-Control": "no-cache"}  # revalidated each time: 304 if the ETag matches

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class PageFile:
    """A static file."""

    data: bytes
    media_type: str
    etag: str


@cache
def page_files() -> dict[str, PageFile]:
    """The page's files by name, read once per process."""
    return {path.name: _read(path) for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES}


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """Serve the page."""
    return _response(request, "index.html")


@router.api_route("/docs", methods=["GET", "HEAD"])
def documentation(request: Request) -> Response:
    """Serve the API documentation, which is rendered from /v1/openapi.json."""
    return _response(request, "docs.html")


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
def file(request: Request, name: str) -> Response:
    """Serve a stylesheet, module or image of the page."""
    return _response(request, name)


def _response(request: Request, name: str) -> Response:
    page_file = page_files().get(name)
    if page_file is None:
        raise Problem(404, "no_such_path", "the page has no such file")
    headers = {**HEADERS, "ETag": page_file.etag}
    if unchanged(request, page_file.etag):
        return Response(status_code=304, headers=headers)
    return Response(page_file.data, media_type=page_file.media_type, headers=headers)


def _read(path: Path) -> PageFile:
    data = path.read_bytes()
    return PageFile(data, MEDIA_TYPES[path.suffix], f'"{sha256(data).hexdigest()[:32]}"')
