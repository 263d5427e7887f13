"""Serves the web page: the static files of this package.

Files are looked up by name in a fixed table, so no request becomes a path in the file system. The
browser revalidates a file each time it uses it. Does not depend on what the page shows.
"""

import gzip
import re
from collections.abc import Iterator
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
    ".jpg": "image/jpeg",
}
HEADERS = {  # revalidated each time: 304 if the ETag matches
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
_SCRIPT = re.compile(r'<script type="module" src="/page/([^"]+)"></script>')
_IMPORT = re.compile(r'^(?:import|export)[^"]*? from "/page/([^"]+)";', re.MULTILINE)

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class PageFile:
    """A static file."""

    data: bytes
    media_type: str
    etag: str
    gzipped: bytes | None  # None: it would hardly be smaller

    def encoded(self, *, accept_gzip: bool) -> tuple[bytes, dict[str, str]]:
        """The body for a client and its headers; each encoding has an ETag of its own."""
        if accept_gzip and self.gzipped is not None:
            return self.gzipped, {"ETag": f'"{self.etag}-gzip"', "Content-Encoding": "gzip"}
        return self.data, {"ETag": f'"{self.etag}"'}


@cache
def page_files() -> dict[str, PageFile]:
    """The page's files by their path below `static/`, read once per process."""
    paths = (path for path in FOLDER.rglob("*") if path.suffix in MEDIA_TYPES)
    return {path.relative_to(FOLDER).as_posix(): _read(path) for path in paths}


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """Serve the page."""
    return _response(request, "index.html")


@router.api_route("/docs", methods=["GET", "HEAD"])
def documentation(request: Request) -> Response:
    """Serve the API documentation, which is rendered from /v1/openapi.json."""
    return _response(request, "docs.html")


@router.api_route("/page/{name:path}", methods=["GET", "HEAD"])
def file(request: Request, name: str) -> Response:
    """Serve a stylesheet, module or image of the page."""
    return _response(request, name)


def _response(request: Request, name: str) -> Response:
    page_file = page_files().get(name)
    if page_file is None:
        raise Problem(404, "no_such_path", "the page has no such file")
    data, encoding = page_file.encoded(accept_gzip=_accepts_gzip(request))
    if unchanged(request, encoding["ETag"]):
        return Response(status_code=304, headers={**HEADERS, "ETag": encoding["ETag"]})
    headers = {**HEADERS, **encoding}
    return Response(data, media_type=page_file.media_type, headers=headers)


def _accepts_gzip(request: Request) -> bool:
    """Whether Accept-Encoding names gzip with a quality above 0; browsers send no quality."""
    for part in request.headers.get("accept-encoding", "").split(","):
        coding, _, quality = part.replace(" ", "").lower().partition(";q=")
        if coding == "gzip":
            return quality.strip("0.") != "" or quality == ""
    return False


def _read(path: Path) -> PageFile:
    data = path.read_bytes()
    if path.suffix == ".html":
        data = _with_preloads(data.decode()).encode()
    gzipped = gzip.compress(data, mtime=0)
    return PageFile(
        data,
        MEDIA_TYPES[path.suffix],
        sha256(data).hexdigest()[:32],
        gzipped if len(gzipped) < 0.9 * len(data) else None,
    )


def _with_preloads(html: str) -> str:
    """Name every module that the page's script imports, so that browsers request them at once.

    Otherwise a browser finds each module's imports after it has loaded that module.
    """
    script = _SCRIPT.search(html)
    if script is None:
        return html
    links = "\n    ".join(
        f'<link rel="modulepreload" href="/page/{name}" />' for name in imported(script[1])
    )
    return f"{html[: script.start()]}{links}\n    {html[script.start() :]}"


def imported(name: str) -> list[str]:
    """The modules that a module imports, directly or not, in a fixed order."""
    found: dict[str, None] = {}

    def walk(module: str) -> Iterator[str]:
        for one in _IMPORT.findall((FOLDER / module).read_text()):
            if one not in found and one != name:
                found[one] = None
                yield one
                yield from walk(one)

    return list(walk(name))
