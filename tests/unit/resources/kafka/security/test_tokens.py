"""Tokens: asked for once, renewed in the background before they expire."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ops.errors import ConfigurationError, RetryableError
from resources.kafka.security.tokens import Oidc, TokenSource, oidc_of

SECRET = "cl13nt-s3cret"


class Endpoint:
    """A token endpoint that answers what a test says, and counts."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.status, self.body = 200, ""
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                endpoint.requests.append((self.headers["Authorization"], body))
                data = (endpoint.body or json.dumps(endpoint.answer())).encode()
                self.send_response(endpoint.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/token"

    def answer(self) -> dict[str, object]:
        return {"access_token": f"token-{len(self.requests)}", "expires_in": 100}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    thread = threading.Thread(target=endpoint.server.serve_forever, args=(0.01,))
    thread.start()
    yield endpoint
    endpoint.server.shutdown()
    thread.join()
    endpoint.server.server_close()


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def source(endpoint: Endpoint, clock: Clock, scope: str = "kafka") -> TokenSource:
    oidc = Oidc(endpoint.url, "shop", SECRET, scope, {}, "")
    return TokenSource(oidc, lambda *names: " and ".join(names), clock)


def finish_renewal(tokens: TokenSource) -> None:
    assert tokens._renewal is not None
    tokens._renewal.join(10)


def test_a_token_is_kept_and_renewed_before_it_expires(endpoint: Endpoint) -> None:
    """The old one is used meanwhile: no connection waits for the endpoint."""
    clock = Clock()
    tokens = source(endpoint, clock)
    assert [tokens.token() for _ in range(3)] == ["token-1"] * 3
    expected = base64.b64encode(f"shop:{SECRET}".encode()).decode()
    assert endpoint.requests == [(f"Basic {expected}", "grant_type=client_credentials&scope=kafka")]
    clock.now += 79
    assert tokens.token() == "token-1"
    assert len(endpoint.requests) == 1
    clock.now += 2
    assert tokens.token() == "token-1"
    finish_renewal(tokens)
    assert tokens.token() == "token-2"
    assert len(endpoint.requests) == 2


def test_an_endpoint_that_fails_does_not_end_a_valid_token(endpoint: Endpoint) -> None:
    """Only once the token has expired does it matter."""
    clock = Clock()
    tokens = source(endpoint, clock)
    tokens.token()
    endpoint.status = 503
    clock.now += 90
    assert tokens.token() == "token-1"
    finish_renewal(tokens)
    clock.now += 11
    with pytest.raises(RetryableError, match="answers 503"):
        tokens.token()
    endpoint.status = 200
    assert tokens.token().startswith("token-")


def test_many_connections_ask_for_one_token(endpoint: Endpoint) -> None:
    tokens, found = source(endpoint, Clock()), []
    threads = [threading.Thread(target=lambda: found.append(tokens.token())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["token-1"] * 8
    assert len(endpoint.requests) == 1


def test_without_expires_in_the_token_itself_says_when(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JWT's `exp`, as librdkafka reads it."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + 1_000}).encode()).decode()
    monkeypatch.setattr(
        endpoint, "answer", lambda: {"access_token": f"e30.{claims.rstrip('=')}.signature"}
    )
    clock = Clock()
    tokens = source(endpoint, clock, scope="")
    tokens.token()
    assert endpoint.requests[0][1] == "grant_type=client_credentials"
    clock.now += 700
    tokens.token()
    assert len(endpoint.requests) == 1
    clock.now += 301
    tokens.token()
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (401, '{"error": "invalid_client"}', ConfigurationError, "refuses the client 'shop': 401"),
        (400, '{"error": "invalid_scope"}', ConfigurationError, "400 invalid_scope"),
        (404, "<html>", ConfigurationError, "404"),
        (200, "<html>", ConfigurationError, "without an access_token"),
        (200, "[]", ConfigurationError, "without an access_token"),
        (429, "{}", RetryableError, "answers 429"),
        (502, "<html>", RetryableError, "answers 502"),
        (302, "", RetryableError, "answers 302"),
    ],
)
def test_what_the_endpoint_says(
    endpoint: Endpoint, status: int, body: str, kind: type[Exception], message: str
) -> None:
    """Who must act: a person, or nobody. A redirect is not followed with the secret."""
    endpoint.status, endpoint.body = status, body or " "
    with pytest.raises(kind, match=message) as error:
        source(endpoint, Clock()).token()
    assert SECRET not in str(error.value)
    assert len(endpoint.requests) == 1


def test_an_endpoint_that_is_not_there_is_an_outage() -> None:
    """The message has the address without its query and user."""
    oidc = Oidc("http://u:pw@127.0.0.1:1/token?key=pw", "shop", SECRET, "", {}, "")
    with pytest.raises(RetryableError, match=r"http://127.0.0.1:1/token, is not reach") as error:
        TokenSource(oidc, lambda *_: "").token()
    assert "pw" not in str(error.value)


def test_extensions_are_read() -> None:
    """Confluent Cloud's."""
    prefix = "sasl.oauthbearer"
    found = oidc_of(
        {
            f"{prefix}.token.endpoint.url": "https://x",
            f"{prefix}.client.id": "i",
            f"{prefix}.client.secret": "s",
            f"{prefix}.extensions": "logicalCluster=lkc-1, identityPoolId=pool-2",
        }
    )
    assert found.extensions == {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"}
