"""The page's files: what is sent for a name, how small it is, and the samples."""

import asyncio
import gzip
import io
import re

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from gateway.page.routes import FOLDER, imported, page_files, router
from lalafo_assets.synthetic.samples import MAX_BYTES, SAMPLES, sample_picture

SHADES_APART = 3.0  # mean difference of a picture and its small JPEG, of 255, in blocks of 8 pixels


LATER = {"masks.js"}
"""Modules that views import when they need them: the page's start is light without."""


class Client:
    """Requests to an application that has the page's routes alone."""

    def __init__(self) -> None:
        app = FastAPI(openapi_url=None)
        app.include_router(router)
        self._transport = httpx.ASGITransport(app)

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://g") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def client() -> Client:
    return Client()


def test_every_text_is_sent_with_gzip_where_it_is_accepted(client: Client) -> None:
    for name in page_files():
        plain = client.get(f"/page/{name}", headers={"Accept-Encoding": "identity"})
        packed = client.get(f"/page/{name}", headers={"Accept-Encoding": "br, gzip;q=0.5"})
        assert "content-encoding" not in plain.headers
        assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
        assert packed.content == plain.content, name  # the client unpacks it
        text = name.endswith((".css", ".js", ".html"))
        assert (packed.headers.get("content-encoding") == "gzip") >= text, name
        if text:
            assert int(packed.headers["content-length"]) < len(plain.content)
            assert packed.headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize("accepted", ["gzip;q=0", "identity", "deflate, gzip; q=0.0"])
def test_a_client_that_refuses_gzip_gets_none(client: Client, accepted: str) -> None:
    answer = client.get("/page/main.js", headers={"Accept-Encoding": accepted})
    assert answer.content == (FOLDER / "main.js").read_bytes()
    assert "content-encoding" not in answer.headers


def test_an_etag_is_that_of_one_encoding(client: Client) -> None:
    packed = client.get("/page/main.js", headers={"Accept-Encoding": "gzip"})
    etag = packed.headers["etag"]
    same = {"Accept-Encoding": "gzip", "If-None-Match": etag}
    other = {"Accept-Encoding": "identity", "If-None-Match": etag}
    assert client.get("/page/main.js", headers=same).status_code == 304
    assert client.get("/page/main.js", headers=other).status_code == 200


@pytest.mark.parametrize(("path", "script"), [("/", "main.js"), ("/docs", "docs.js")])
def test_the_document_names_every_module_that_it_loads(
    client: Client, path: str, script: str
) -> None:
    """A browser requests them at once, and none that is not there."""
    named = re.findall(r'rel="modulepreload" href="/page/([^"]+)"', client.get(path).text)
    assert named == imported(script)
    assert len(set(named)) == len(named)
    assert {"dom.js", "api.js", "key.js"} <= set(named)
    loaded = {script, *named}
    for name in loaded:
        source = (FOLDER / name).read_text()
        assert set(re.findall(r'"/page/([\w-]+\.js)"', source)) <= loaded | LATER, name
    assert not loaded & LATER


def test_a_module_that_is_imported_later_needs_no_other_one() -> None:
    """A browser has the modules that it imports: one request, and none for a name that is wrong."""
    asked = set(re.findall(r'import\("/page/([\w-]+\.js)"\)', _sources()))
    assert asked == LATER
    for name in LATER:
        assert set(imported(name)) <= set(imported("main.js")), name


def _sources() -> str:
    return "\n".join(path.read_text() for path in sorted(FOLDER.glob("*.js")))


def test_every_file_of_the_page_is_used(client: Client) -> None:
    documents = client.get("/").text + client.get("/docs").text
    used = set(re.findall(r'"/page/([^"]+)"', documents)) | {"index.html", "docs.html"}
    used |= {f"samples/{name}.jpg" for name in SAMPLES} | LATER
    assert set(page_files()) == used


def test_the_samples_are_small_and_drawn_by_this_project() -> None:
    source = (FOLDER / "intake.js").read_text()
    offered = re.search(r"const SAMPLES = \[([^\]]+)\]", source)
    assert offered is not None
    assert re.findall(r'"(\w+)"', offered[1]) == list(SAMPLES)
    for name in SAMPLES:
        data = page_files()[f"samples/{name}.jpg"].data
        assert len(data) <= MAX_BYTES
        shown, drawn = Image.open(io.BytesIO(data)), sample_picture(name)
        assert shown.size == drawn.size
        apart = np.subtract(shown.reduce(8), drawn.reduce(8), dtype=np.float32)
        assert np.abs(apart).mean() < SHADES_APART, name


def test_gzip_gives_the_same_bytes_in_every_process() -> None:
    """Gateways behind one address must agree on an ETag's content."""
    data = (FOLDER / "main.js").read_bytes()
    assert page_files()["main.js"].gzipped == gzip.compress(data, mtime=0)
