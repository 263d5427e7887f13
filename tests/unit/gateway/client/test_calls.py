"""The client's requests, and secrets in its messages."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from gateway.client import AdIn, AsyncLalafoClient, LalafoApiError, LalafoClient, PhotoIn
from gateway.client.calls import ad_path
from ops.errors import ConfigurationError

KEY = "lv_0123_topsecret"
URL = "http://gateway.example:8080"
ACCEPTED = {
    "catalog": "kg",
    "ad_id": "1",
    "revision": 1,
    "state": "accepted",
    "known_revision": 1,
    "published": True,
    "links": {"self": "/v1/ads/kg/1", "feedback": "/v1/ads/kg/1/feedback"},
}


def client(
    *responses: httpx.Response, requests: list[httpx.Request], **more: object
) -> LalafoClient:
    """A client that gets these responses in turn; its requests are appended to `requests`."""
    remaining = list(responses)

    def respond(request: httpx.Request) -> httpx.Response:
        request.read()
        requests.append(request)
        return remaining.pop(0)

    return LalafoClient(URL, KEY, transport=httpx.MockTransport(respond), **more)


def test_the_client_needs_no_server() -> None:
    """Importing it loads httpx and pydantic, and none of the server's packages."""
    modules = subprocess.run(
        [sys.executable, "-c", "import sys, gateway.client; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    loaded = {name.partition(".")[0] for name in modules}
    heavy = {"fastapi", "starlette", "uvicorn", "psycopg", "kafka", "resources", "numpy"}
    assert not loaded & heavy
    assert {"httpx", "pydantic"} <= loaded


@pytest.mark.parametrize(
    "ad_id", ["42", "a/b", "..", ".", "../../x", "a b", "ü", "100%", "a?b#c", "%2e", "a\\b", "/"]
)
def test_an_id_stays_what_it_is(ad_id: str) -> None:
    """A server that decodes the path once reads the same id, whatever characters it contains."""
    path = httpx.URL(URL + ad_path("kg", ad_id)).raw_path.decode()
    assert path.startswith("/v1/ads/kg/")
    assert httpx.URL(URL + ad_path("kg", ad_id)).path == f"/v1/ads/kg/{ad_id}"


def test_an_ad_is_sent_as_it_was_given() -> None:
    """A dict is sent unchanged, a model without the fields that were not set."""
    requests: list[httpx.Request] = []
    ad = AdIn(catalog="kg", ad_id="1", price=Decimal("12.50"), photos=[PhotoIn(url="http://a/b")])
    with client(*[httpx.Response(202, json=ACCEPTED)] * 2, requests=requests) as one:
        one.post_ad(ad)
        one.post_ad({"catalog": "kg", "ad_id": "1", "more": None})
    assert json.loads(requests[0].content) == {
        "catalog": "kg",
        "ad_id": "1",
        "price": "12.50",
        "photos": [{"url": "http://a/b"}],
    }
    assert json.loads(requests[1].content) == {"catalog": "kg", "ad_id": "1", "more": None}
    assert requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert requests[0].headers["Idempotency-Key"] != requests[1].headers["Idempotency-Key"]


def test_every_attempt_sends_the_whole_file_and_the_same_key(tmp_path: Path) -> None:
    """A file that the first attempt has read is read from its start by the next one."""
    file = tmp_path / "chair.jpg"
    file.write_bytes(b"\xff\xd8\xff" + b"x" * 100_000)
    requests: list[httpx.Request] = []
    unavailable = httpx.Response(
        503, headers={"Retry-After": "0"}, json={"type": "x", "detail": "y"}
    )
    responses = (unavailable, unavailable, httpx.Response(202, json=ACCEPTED))
    with client(*responses, requests=requests) as one:
        one.post_ad({"catalog": "kg", "ad_id": "1"}, photos=[file, b"\x89PNG"])
    assert len(requests) == 3
    assert len({request.headers["Idempotency-Key"] for request in requests}) == 1
    for request in requests:
        assert file.read_bytes() in request.content
        assert b"\x89PNG" in request.content


@pytest.mark.parametrize("kind", [LalafoClient, AsyncLalafoClient])
def test_the_key_is_never_shown(kind: type[LalafoClient] | type[AsyncLalafoClient]) -> None:
    """Not in a repr, not in an error, and not in httpx's error for a key that it refuses."""
    assert KEY not in repr(kind("http://someone:topsecret@host", KEY))
    assert "topsecret" not in repr(kind("http://someone:topsecret@host", KEY))
    for bad in (f"{KEY}\n", f"{KEY}ü", f"{KEY}\r\nX: y", f" {KEY}", f"{KEY}\x00"):
        with pytest.raises(ConfigurationError) as found:
            kind(URL, bad)
        assert "secret" not in str(found.value)


def test_no_answer_names_the_host_alone() -> None:
    """The error contains the scheme, host and port, and nothing else of the URL."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with (
        LalafoClient(
            "http://someone:topsecret@gateway.example:1/below",
            KEY,
            patience_s=0,
            transport=httpx.MockTransport(refuse),
        ) as one,
        pytest.raises(LalafoApiError) as found,
    ):
        one.get_ad("kg", "1")
    assert str(found.value) == "no_answer: no response from http://gateway.example:1: refused"


def test_the_environment_is_read_only_where_no_argument_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This holds for the URL and for the key separately; "" sends no key."""
    monkeypatch.setenv("LALAFO_GATEWAY_URL", "http://set.example")
    monkeypatch.setenv("LALAFO_GATEWAY_KEY", "lv_set_x")
    assert "set.example" in repr(LalafoClient())
    assert "given.example" in repr(LalafoClient("http://given.example"))
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, content=b"photo")

    for key in (None, "lv_given_x", ""):
        LalafoClient(key=key, transport=httpx.MockTransport(respond)).photo("0" * 64)
    sent = [request.headers.get("Authorization") for request in requests]
    assert sent == ["Bearer lv_set_x", "Bearer lv_given_x", None]


@pytest.mark.parametrize(
    "url",
    [
        *("", "gateway:8080", "ftp://host", "http://", "/v1", "http://h:x"),
        *("http://xn--a", "http://xn--a.1/", "http://h/\ud800", "\ud800"),
    ],
    ids=ascii,
)
def test_an_invalid_url_is_refused(url: str) -> None:
    """When the client is created, and not at the first call."""
    with pytest.raises(ConfigurationError):
        LalafoClient(url, KEY)


def test_another_server_s_success_is_an_error() -> None:
    """A 200 whose body is not a response of this API raises `unreadable`."""
    requests: list[httpx.Request] = []
    with (
        client(httpx.Response(200, text="<html>"), requests=requests) as one,
        pytest.raises(LalafoApiError) as found,
    ):
        one.get_ad("kg", "1")
    assert found.value.kind == "unreadable"


def test_other_limits_share_the_connections() -> None:
    """`within` changes the limits of the client that it returns, and not of the original."""
    requests: list[httpx.Request] = []
    unavailable = httpx.Response(503, json={"type": "x", "detail": "y"})
    with client(unavailable, httpx.Response(200, content=b"photo"), requests=requests) as one:
        with pytest.raises(LalafoApiError):
            one.within(patience_s=0, timeout_s=0.5).photo("0" * 64)
        one.photo("0" * 64)
    assert [request.extensions["timeout"]["read"] for request in requests] == [0.5, 10.0]
