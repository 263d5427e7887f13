"""What a request may contain: parameters, fields, encodings. Each refusal names what is right."""

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from resources.embedded.broker import EmbeddedBroker
from resources.postgres.database import Database
from tests.support.open_gateway import open_gateway

AD = {"catalog": "kg", "ad_id": "42", "revision": 1}


@pytest.fixture
def client(
    database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path
) -> Iterator[httpx.Client]:
    with (
        open_gateway(database, embedded_broker, tmp_path) as (gateway, _),
        httpx.Client(base_url=gateway.url, timeout=60) as client,
    ):
        client.post("/v1/ads", json=AD).raise_for_status()
        yield client


def test_every_route_refuses_a_parameter_that_it_does_not_have(client: httpx.Client) -> None:
    """With its name and those that the route has; the original's routes ignore it."""
    document = client.get("/v1/openapi.json").json()
    known = {"catalog": "kg", "ad_id": "42", "sha256": "0" * 64}
    checked = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answer = client.request(
                method.upper(), path.format(**known), params={"surprise": "1"}, content=b"{}"
            )
            if not path.startswith("/v1/"):
                assert "surprise" not in answer.text, (method, path)
                continue
            body = answer.json()
            assert (answer.status_code, body["type"]) == (
                *(422, "urn:lalafo:problem:unknown_parameter"),
            ), (method, path)
            allowed = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"}
            assert (body["parameters"], set(body["allowed"])) == (["surprise"], allowed)
            checked += 1
    assert checked >= 8


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "Idempotency-Key", "Content-Type"])
def test_a_header_with_two_values_is_refused(client: httpx.Client, name: str) -> None:
    """A proxy may take another one than the gateway; equal ones are no contradiction."""
    body = json.dumps({**AD, "ad_id": "twice"})
    answer = client.post("/v1/ads", content=body, headers=[(name, "a"), (name, "b")])
    assert (answer.status_code, answer.json()["type"]) == (
        400,
        "urn:lalafo:problem:repeated_header",
    )
    assert name in answer.json()["detail"]
    assert client.get("/v1/ads/kg/twice").status_code == 404
    same = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    assert client.post("/v1/ads", content=body, headers=same).status_code == 202


def test_what_is_not_http_gets_a_problem_too(client: httpx.Client) -> None:
    """A method that does not exist, and a header with a control character."""
    port = client.base_url.port
    assert port is not None
    for request in (b"FOO / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nX: \x01\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(request)
            with connection.makefile("rb") as stream:
                head, _, body = stream.read().partition(b"\r\n\r\n")
        assert b"content-type: application/problem+json" in head
        assert json.loads(body)["type"] == "urn:lalafo:problem:not_http"


def test_a_misspelt_parameter_changes_nothing(client: httpx.Client) -> None:
    """Ignored, it would delete the ad under another revision."""
    answer = client.delete("/v1/ads/kg/42?revison=2")
    assert answer.status_code == 422
    assert "'revison' (did you mean 'revision'?)" in answer.json()["detail"]
    twice = client.delete("/v1/ads/kg/42?revision=2&revision=3")
    assert twice.json()["type"] == "urn:lalafo:problem:repeated_parameter"
    assert client.get("/v1/ads/kg/42").json()["waiting"]["kind"] == "upserted"


@pytest.mark.parametrize(
    "query",
    [
        *("limit=1_0", "limit=%2B5", "limit=%205", "limit=5.0", "limit=%EF%BC%95", "limit=05"),
        *("since=1692352800", "since=2026-W47-7T10:00:00Z", "since=2026-11-22T10:00:00 02:00"),
        *("since=2026-11-22 10:00:00Z", "until=20261122T100000Z"),
    ],
)
def test_a_number_or_time_in_a_query_has_one_form(client: httpx.Client, query: str) -> None:
    """What Python's int() and the original's reader of times would accept besides is refused."""
    answer = client.get(f"/v1/ads?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["at"].startswith("query.")
    assert client.get("/v1/ads?limit=5&since=2026-11-22T10:00:00%2B02:00").status_code == 200


@pytest.mark.parametrize(
    ("fields", "at", "nearest", "allowed"),
    [
        ({"titel": "A chair"}, "body.titel", "title", ["catalog", "ad_id", "revision"]),
        ({"Price": "5"}, "body.Price", "price", ["catalog"]),
        ({"photos": [{"ulr": "http://a/b"}]}, "body.photos.0.ulr", "url", ["url", "sha256"]),
    ],
)
def test_a_misspelt_field_gets_the_allowed_ones_and_the_nearest(
    client: httpx.Client, fields: dict, at: str, nearest: str, allowed: list[str]
) -> None:
    """Of the object that it is in."""
    answer = client.post("/v1/ads", json={**AD, "ad_id": "43", **fields})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["at"] == at
    assert error["allowed"][: len(allowed)] == allowed
    assert f"(did you mean {nearest!r}?)" in error["expected"]
    assert f"(did you mean {nearest!r}?)" in answer.json()["detail"]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "GZIP", "identity, gzip"])
@pytest.mark.parametrize(
    "path", ["/v1/ads", "/v1/photos", "/v1/ads/kg/42/feedback", "/classify", "/v1/statistics"]
)
def test_a_compressed_body_is_refused_by_name(client: httpx.Client, path: str, coding: str) -> None:
    """415 with `Accept-Encoding: identity`, whatever the body is."""
    body = gzip.compress(json.dumps(AD).encode())
    answer = client.post(path, content=body, headers={"Content-Encoding": coding})
    assert answer.status_code == 415
    assert answer.headers["Accept-Encoding"] == "identity"
    named = coding.rpartition(" ")[2].lower()
    assert f"Content-Encoding '{named}'" in answer.text


def test_an_uncompressed_body_may_say_so(client: httpx.Client) -> None:
    """`identity` and an empty value are no coding."""
    for coding in ("identity", "", "Identity, identity"):
        answer = client.post("/v1/ads", json=AD, headers={"Content-Encoding": coding})
        assert answer.status_code == 202


def test_an_encoded_part_of_a_form_is_refused_by_name(client: httpx.Client) -> None:
    """A base64 part would be read as the bytes of a photo."""
    part = (
        b'--x\r\nContent-Disposition: form-data; name="ad"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\ne30=\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/v1/ads", content=part, headers=headers)
    assert answer.status_code == 415 and "base64" in answer.json()["detail"]


def test_answers_are_compact_json(client: httpx.Client) -> None:
    """One style, written by PostgreSQL, pydantic or Python."""
    for path in ("/v1/ads/kg/42", "/v1/ads", "/v1/failures", "/v1/statistics", "/v1/ads/kg/none"):
        answer = client.get(path)
        compact = json.dumps(answer.json(), separators=(",", ":"), ensure_ascii=False)
        assert answer.text == compact, path
