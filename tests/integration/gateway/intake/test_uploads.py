"""Uploaded photos: streamed to files, checked by their bytes, and scored like any other photo."""

import io
import json
import socket
import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from tests.support.gateway_live import LiveGateway, live_gateway
from tests.support.live_session import Live
from tests.support.odd_photos import jpeg, noisy, save
from tests.support.working_sessions import Working, until

PHOTO = jpeg(noisy(80, 60, 1))
OTHER = save(noisy(80, 60, 2), "PNG")
MAX_PHOTO = 16_000_000
AD = {"catalog": "kg", "ad_id": "1", "revision": 1}


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """Without Kafka: accepted events stay in the outbox."""
    return Settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        gateway_auth="off",
        max_photo_bytes=MAX_PHOTO,
        max_photos_per_ad=3,
        max_upload_bytes=3 * MAX_PHOTO,
    )


@pytest.fixture
def gateway(settings: Settings) -> Iterator[LiveGateway]:
    with live_gateway(settings) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield client


def rows(database: Database, query: str) -> list[tuple]:
    with database.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def parts(*photos: bytes, name: str = "photo") -> list:
    return [(name, (f"{n}.txt", data, "text/plain")) for n, data in enumerate(photos)]


def post(client: httpx.Client, *photos: bytes, **ad: object) -> httpx.Response:
    return client.post("/v1/ads", data={"ad": json.dumps({**AD, **ad})}, files=parts(*photos))


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_photos_that_were_sent_are_scored(live: Live) -> None:
    """Sent with the ad, or before it by POST /v1/photos: in order, after those that it names."""
    settings = live.settings.model_copy(update={"gateway_auth": "off"})
    with (
        live_gateway(settings) as gateway,
        httpx.Client(base_url=gateway.url, timeout=60) as client,
        Working(live) as worker,
    ):
        until(lambda: worker.partitions)
        sent = client.post("/v1/photos", content=OTHER, headers={"Content-Type": "image/png"})
        assert (sent.status_code, sent.json()) == (
            *(201, {"sha256": sha256(OTHER).hexdigest(), "bytes": len(OTHER)}),
        )
        named = json.dumps({**AD, "photos": [{"sha256": sent.json()["sha256"]}]})
        answer = client.post("/v1/ads?wait=20", data={"ad": named}, files=parts(PHOTO))
        assert answer.status_code == 200, answer.text
        ad = answer.json()
        assert ad["status"] == "scored" and ad["predictions"]
        assert [(p["status"], p["sha256"]) for p in ad["photos"]] == [
            ("ok", sha256(OTHER).hexdigest()),
            ("ok", sha256(PHOTO).hexdigest()),
        ]
        assert ad["photos"][0]["width"] == 80
        again = client.post("/v1/ads?wait=20", data={"ad": named}, files=parts(PHOTO))
        assert again.json()["revision"] == 1 and again.status_code == 200
    assert live.rows("SELECT count(*) FROM lalafo.failures") == [(0,)]


def test_uploads_are_stored_unchanged(
    client: httpx.Client, database: Database, settings: Settings
) -> None:
    """Each is in the store under its SHA-256, with a row; equal photos are one object."""
    answer = post(client, PHOTO, OTHER, PHOTO)
    assert answer.status_code == 202, answer.text
    assert answer.json()["published"] is False
    store = PhotoStore(settings.resolved_store_url)
    for data in (PHOTO, OTHER):
        assert store.get("uploads", sha256(data).digest()) == data
    assert sorted(rows(database, "SELECT sha256, bytes FROM lalafo.uploads")) == sorted(
        (sha256(data).digest(), len(data)) for data in (PHOTO, OTHER)
    )
    ((event,),) = rows(database, "SELECT event FROM lalafo.accepted_ads")
    digests = [sha256(data).hexdigest() for data in (PHOTO, OTHER, PHOTO)]
    assert event["photos"] == [{"sha256": digest} for digest in digests]


def test_an_unknown_photo_is_named(client: httpx.Client, database: Database) -> None:
    """422 with its SHA-256; nothing is accepted."""
    known = client.post("/v1/photos", content=PHOTO).json()["sha256"]
    unknown = sha256(b"nobody has this").hexdigest()
    ad = {**AD, "photos": [{"sha256": known}, {"sha256": unknown}]}
    answer = client.post("/v1/ads", json=ad)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:lalafo:problem:unknown_photo"
    assert answer.json()["sha256"] == [unknown]
    assert rows(database, "SELECT count(*) FROM lalafo.accepted_ads") == [(0,)]
    assert client.post("/v1/ads", json={**AD, "photos": [{"sha256": known}]}).status_code == 202


def test_a_file_that_is_not_a_photo_is_refused(
    client: httpx.Client, database: Database, settings: Settings
) -> None:
    """It is detected by its bytes, not its name; the error names the part; nothing is stored."""
    cases = [
        (
            post(client, PHOTO, b"%PDF-1.7 and so on, and so forth, for long"),
            415,
            "photo[1] is a PDF",
        ),
        (post(client, b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 415, "an SVG"),
        (post(client, b"short"), 415, "photo[0] is an unknown format"),
        (post(client, b"\xef\xbb\xbf<?xml version='1.0'?> <!-- drawn -->\n<svg>"), 415, "an SVG"),
        (post(client, b"\0\0\0\x20ftypisom" + b"\0" * 40), 415, "an MP4 video"),
        (post(client, b"<!DOCTYPE html><html><title>404</title></html>"), 415, "is HTML"),
        (client.post("/v1/photos", content=b"8BPS\0\1" + b"\0" * 40), 415, "a PSD"),
        (client.post("/v1/photos", content=b"\0\0\0\x0cjP  " + b"\0" * 40), 415, "a JPEG 2000"),
        (post(client, b""), 422, "photo[0] has no bytes"),
        (post(client, *[PHOTO] * 4), 422, "more than 3 photos"),
        (client.post("/v1/photos", content=b"GIF90a" + b"x" * 40), 415, "the body is"),
        (client.post("/v1/photos", content=b""), 422, "no bytes"),
        (client.post("/v1/photos", content=PHOTO + b"\0" * MAX_PHOTO), 413, str(MAX_PHOTO)),
        (post(client, PHOTO + b"\0" * MAX_PHOTO), 413, str(MAX_PHOTO)),
        (client.post("/v1/ads", files=parts(PHOTO)), 422, "no part named ad"),
        (client.post("/v1/ads", data={"ad": "{"}, files=parts(PHOTO)), 422, "body"),
        (
            client.post("/v1/ads", data={"ad": [json.dumps(AD)] * 2}, files=parts(PHOTO)),
            422,
            "two parts ad",
        ),
        (
            client.post("/v1/ads", data={"ad": json.dumps(AD)}, files=parts(PHOTO, name="x")),
            422,
            "x",
        ),
    ]
    for answer, status, expected in cases:
        assert answer.status_code == status, answer.text
        assert expected in answer.json()["detail"], answer.text
    store = Path(settings.resolved_store_url)
    assert not [path for path in store.rglob("*") if path.is_file()]
    assert rows(database, "SELECT count(*) FROM lalafo.uploads") == [(0,)]
    assert rows(database, "SELECT count(*) FROM lalafo.accepted_ads") == [(0,)]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=b", b"x"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b\r\nno header\r\n\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="ad"\r\n',
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"A: b\r\n" * 100 + b"\r\n\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nA: " + b"x" * 10_000),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nno name\r\n--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 1_000, b"--b\r\n"),
    ],
)
def test_a_malformed_form_is_refused(client: httpx.Client, content_type: str, body: bytes) -> None:
    """400 or 422, never a 500."""
    answer = client.post("/v1/ads", content=body, headers={"Content-Type": content_type})
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_client_that_disconnects_half_way_leaves_nothing_behind(
    gateway: LiveGateway, client: httpx.Client, database: Database, settings: Settings
) -> None:
    """No file, row or object is left, and the gateway goes on."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    head = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    before = _open_deleted_files()  # pytest's own
    for _ in range(3):
        with socket.create_connection((host, int(port))) as sent:
            sent.sendall(
                b"POST /v1/ads HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + head + PHOTO * 20
            )
            until(lambda: _open_deleted_files() > before)
        until(lambda: _open_deleted_files() == before)
    assert post(client, PHOTO).status_code == 202
    assert rows(database, "SELECT count(*) FROM lalafo.uploads") == [(1,)]


def _open_deleted_files() -> int:
    """The number of this process's open temporary files without a name."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        count += target.startswith("/tmp/") and "deleted" in target
    return count


def test_a_photo_is_never_completely_in_memory(client: httpx.Client, gateway: LiveGateway) -> None:
    """For a photo of 15 MB the peak of Python's memory grows by chunks, not by the photo."""
    large = PHOTO + bytes(15_000_000 - len(PHOTO))
    boundary = b'--b\r\nContent-Disposition: form-data; name="ad"\r\n\r\n'
    head = boundary + json.dumps(AD).encode() + b"\r\n"
    head += b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    file = io.BytesIO(head + large + b"\r\n--b--\r\n")
    size = len(file.getvalue())

    def chunks() -> Iterator[bytes]:
        while data := file.read(2**16):
            yield data

    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(size)}
    post(client, PHOTO, ad_id="warm")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        answer = client.post("/v1/ads", content=chunks(), headers=headers)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert answer.status_code == 202, answer.text
    assert peak < 6_000_000, f"{peak} bytes more at the peak"
