"""A live gateway's limits, its Host and Origin checks, its headers and its error responses."""

import asyncio
import http.client
import json
import logging
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.edge import keys
from gateway.edge.auth import Caller
from gateway.edge.limits import Limits
from gateway.problems import Problem
from resources.postgres.database import Database
from resources.settings import Settings
from tests.support.gateway_live import LiveGateway, live_gateway

MAX_JSON, MAX_UPLOAD = 2_000, 5_000


@pytest.fixture
def settings(database: Database, tmp_path) -> Settings:
    return Settings(
        home=tmp_path,
        database_url=database.url.render_as_string(hide_password=False),
        kafka_bootstrap="",
        gateway_auth="off",
        max_json_bytes=MAX_JSON,
        max_upload_bytes=MAX_UPLOAD,
        requests_at_once=2,
    )


@pytest.fixture
def gateway(settings: Settings) -> Iterator[LiveGateway]:
    with live_gateway(settings) as running:
        yield running


def with_keys(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"gateway_auth": "keys", **changes})


def raw_request(gateway: LiveGateway, head: bytes, *parts: bytes) -> tuple[int, dict]:
    """Send bytes over a socket; return the status and JSON of the response."""
    place = urlsplit(gateway.url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    connection.connect()
    try:
        connection.sock.sendall(head)
        for part in parts:
            connection.sock.sendall(part)
        answer = http.client.HTTPResponse(connection.sock)
        answer.begin()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_content_length_that_is_too_large_is_refused_before_the_body_is_sent(
    gateway: LiveGateway,
):
    status, body = raw_request(
        gateway,
        b"POST /v1/ads HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000000000000\r\n\r\n",
    )
    assert (status, body["allowed"]) == (413, MAX_JSON)
    assert "1000000000000 bytes" in body["detail"]


def test_a_body_without_a_content_length_is_counted_while_it_is_received(gateway: LiveGateway):
    head = (
        b"POST /v1/ads HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"3e8\r\n" + b"1" * 1000 + b"\r\n"
    status, body = raw_request(gateway, head, *[chunk] * 3)  # and it does not end
    assert (status, body["allowed"]) == (413, MAX_JSON)
    assert body["type"].endswith(":too_large")


def test_uploads_may_be_larger_than_json(gateway: LiveGateway):
    def status(path: str, size: int, content_type: str) -> int:
        headers = {"Content-Type": content_type}
        return httpx.post(gateway.url + path, content=b"x" * size, headers=headers).status_code

    form = "multipart/form-data; boundary=b"
    assert status("/v1/ads", MAX_JSON + 1, "application/json") == 413
    assert status("/v1/ads", MAX_JSON + 1, form) != 413
    assert status("/v1/ads", MAX_UPLOAD + 1, form) == 413
    assert status("/v1/photos", MAX_JSON + 1, "image/jpeg") != 413
    assert status("/v1/photos", MAX_UPLOAD + 1, "image/jpeg") == 413
    assert status("/v1/ads/kg/1/feedback", MAX_JSON + 1, form) == 413


def test_a_key_over_its_rate_gets_a_retry_after(settings: Settings, database: Database):
    slow = keys.make(database, "slow", scopes=["read"], requests_per_s=0.5)
    quick = keys.make(database, "quick", scopes=["read"])
    with live_gateway(with_keys(settings)) as gateway:
        answers = [
            httpx.get(f"{gateway.url}/v1/ads/kg/1", headers={"X-API-Key": slow.text})
            for _ in range(3)
        ]
        other = httpx.get(f"{gateway.url}/v1/ads/kg/1", headers={"X-API-Key": quick.text})
    assert [answer.status_code for answer in answers] == [404, 429, 429]
    assert answers[1].headers["retry-after"] == "2"
    assert answers[1].headers["content-type"] == "application/problem+json"
    assert answers[1].json()["allowed"] == 0.5
    assert other.status_code == 404


def test_a_rate_limit_refills_with_time_up_to_a_burst(settings: Settings):
    clock = SimpleNamespace(now=0.0)
    limits = Limits(settings, clock=lambda: clock.now)
    caller = Caller("id", "name", frozenset(), None, requests_per_s=2.0)

    def passed(attempts: int = 20) -> int:
        for count in range(attempts):
            try:
                limits.begin(caller)
            except Problem as problem:
                assert problem.status == 429
                return count
            limits.end(caller)
        return attempts

    assert passed() == 4  # two seconds' worth
    clock.now = 1.0
    assert passed() == 2
    clock.now = 100.0
    assert passed() == 4


def test_concurrent_requests_of_a_key_are_limited(settings: Settings):
    limits = Limits(settings)
    first = Caller("first", "name", frozenset(), None, 0.0)
    other = Caller("other", "name", frozenset(), None, 0.0)
    limits.begin(first)
    limits.begin(first)
    with pytest.raises(Problem) as refused:
        limits.begin(first)
    assert (refused.value.kind, refused.value.more["allowed"]) == ("too_many_at_once", 2)
    limits.begin(other)
    limits.end(first)
    limits.begin(first)


def test_every_request_is_counted_as_ended(settings: Settings, database: Database):
    key = keys.make(database, "shop", scopes=["read"])
    headers = {"X-API-Key": key.text}
    with live_gateway(with_keys(settings)) as gateway:
        for path in ("/v1/ads/kg/1", "/v1/nothing", "/v1/ads?limit=x") * 3:
            assert httpx.get(gateway.url + path, headers=headers).status_code != 429
        assert httpx.post(f"{gateway.url}/v1/ads", headers=headers).status_code == 403
        assert not gateway.app.state.services.limits._at_once


def test_without_keys_only_hosts_of_this_machine_are_accepted(gateway: LiveGateway):
    def status(host: str, **more: str) -> int:
        headers = {"Host": host, **more}
        return httpx.get(f"{gateway.url}/healthz", headers=headers).status_code

    here = urlsplit(gateway.url).netloc
    assert [status(h) for h in ("localhost", "127.0.0.1:80", "[::1]:8080", here)] == [200] * 4
    rebound = ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "")
    assert [status(host) for host in rebound] == [421] * 5
    assert status(here, Origin=gateway.url) == 200
    assert status(here, Origin="https://evil.example") == 403
    assert status(here, Origin="null") == 403
    assert status(here, Origin="http://[") == 403


def test_with_keys_any_host_is_accepted(settings: Settings):
    with live_gateway(with_keys(settings)) as gateway:
        answer = httpx.get(f"{gateway.url}/healthz", headers={"Host": "api.shop.example"})
    assert answer.status_code == 200


def test_pages_of_other_origins_may_call_only_if_the_settings_name_them(settings: Settings):
    preflight = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    allowed = "access-control-allow-origin"
    with live_gateway(with_keys(settings)) as gateway:
        unnamed = httpx.options(f"{gateway.url}/v1/ads", headers=preflight)
    assert allowed not in unnamed.headers
    named = with_keys(settings, cors_origins="https://shop.example, https://other.example")
    with live_gateway(named) as gateway:
        opened = httpx.options(f"{gateway.url}/v1/ads", headers=preflight)
        refused = httpx.get(f"{gateway.url}/v1/ads", headers={"Origin": "https://shop.example"})
        evil = httpx.get(f"{gateway.url}/v1/ads", headers={"Origin": "https://evil.example"})
    assert opened.headers[allowed] == "https://shop.example"
    assert refused.status_code == 401
    assert refused.headers[allowed] == "https://shop.example"  # so that the page can read why
    assert allowed not in evil.headers


def test_every_response_has_an_id_and_security_headers(gateway: LiveGateway):
    for path in ("/healthz", "/nothing", "/v1/openapi.json"):
        headers = httpx.get(gateway.url + path).headers
        assert len(headers["x-request-id"]) == 16
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers
    given = httpx.get(f"{gateway.url}/healthz", headers={"X-Request-Id": "shop-17"})
    assert given.headers["x-request-id"] == "shop-17"
    invalid = httpx.get(f"{gateway.url}/healthz", headers={"X-Request-Id": "a b\tc" * 99})
    assert len(invalid.headers["x-request-id"]) == 16


def test_a_bug_is_logged_once_and_its_message_is_not_in_the_response(
    settings: Settings, caplog: pytest.LogCaptureFixture
):
    async def broken() -> None:
        raise RuntimeError("at 10.0.0.7 with password hunter2")

    with live_gateway(settings) as gateway:
        gateway.app.add_api_route("/v1/broken", broken)
        answer = httpx.get(f"{gateway.url}/v1/broken", headers={"X-Request-Id": "bug-1"})
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in answer.text and "Traceback" not in answer.text
    logged = [record for record in caplog.records if record.exc_info is not None]
    assert len(logged) == 1
    assert "hunter2" in logging.Formatter().format(logged[0])
    assert answer.headers["x-request-id"] == "bug-1"


@pytest.mark.parametrize(
    ("content", "content_type", "status", "kind"),
    [
        (b'{"task":', "application/json", 400, "not_json"),
        (b'{"task": "\xff"}', "application/json", 400, "not_json"),
        (b"[" * 1500, "application/json", 400, "not_json"),
        (b'{"task": "category"}', "text/plain", 415, "wrong_type"),
        (b'{"label": "a", "given_by": "b", "\\ud800": 1}', "application/json", 422, "invalid"),
    ],
)
def test_a_body_that_can_not_be_read_gets_its_own_problem(
    gateway: LiveGateway, content: bytes, content_type: str, status: int, kind: str
):
    answer = httpx.post(
        f"{gateway.url}/v1/ads/kg/1/feedback",
        content=content,
        headers={"Content-Type": content_type},
    )
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, kind)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == "/v1/ads/kg/1/feedback"


def test_a_malformed_host_or_path_gets_404(settings: Settings):
    with live_gateway(with_keys(settings)) as gateway:
        odd = [httpx.get(f"{gateway.url}/{'%ff' * 9}", headers={"Host": "[::1"}).status_code]
        odd.append(httpx.get(f"{gateway.url}/{'a' * 5000}", headers={"Host": "a b"}).status_code)
    assert odd == [404, 404]


def test_the_original_api_s_routes_keep_its_error_shape(settings: Settings):
    with live_gateway(with_keys(settings)) as gateway:
        answer = httpx.post(f"{gateway.url}/classify", json={})
    assert answer.status_code == 401
    assert answer.json()["Status"] == "Error"
    assert "API key" in answer.json()["Message"]


def test_a_client_that_disconnects_causes_no_error(
    gateway: LiveGateway, caplog: pytest.LogCaptureFixture
):
    place = urlsplit(gateway.url)
    for _ in range(5):
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
        connection.putrequest("POST", "/v1/ads/kg/1/feedback")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b'{"task"')
        connection.close()
    assert httpx.get(f"{gateway.url}/healthz").status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_metrics_may_be_read_from_this_machine_and_by_admins(
    settings: Settings, database: Database
):
    reads = keys.make(database, "reads", scopes=["read"])
    admin = keys.make(database, "admin", scopes=["admin"])
    proxied = {"X-Forwarded-For": "203.0.113.9"}
    with live_gateway(with_keys(settings)) as gateway:
        httpx.get(f"{gateway.url}/v1/ads/kg/1", headers={"X-API-Key": reads.text})
        httpx.request("BREW", f"{gateway.url}/v1/no-such-path")
        url = f"{gateway.url}/metrics"
        here = httpx.get(url)
        statuses = [
            httpx.get(url, headers={**proxied, "X-API-Key": key}).status_code
            for key in ("", reads.text, admin.text)
        ]
    assert statuses == [401, 403, 200]
    lines = here.text.splitlines()
    route = 'method="GET",route="/v1/ads/{catalog}/{ad_id:path}",status="404"'
    assert f"lalafo_gateway_requests_total{{{route}}} 1.0" in lines
    assert not any("no-such-path" in line or "BREW" in line for line in lines)
    for name in ("outbox_waiting", "broker_unavailable", "waiters", "in_flight"):
        assert any(line.startswith(f"lalafo_gateway_{name} ") for line in lines)


def test_too_many_concurrent_requests_are_refused_over_http(settings: Settings, database: Database):
    key = keys.make(database, "shop", scopes=["read"])
    headers = {"X-API-Key": key.text}
    with live_gateway(with_keys(settings)) as gateway:
        started, release = threading.Event(), threading.Event()

        async def slow() -> None:
            started.set()
            await asyncio.to_thread(release.wait, 10)

        gateway.app.add_api_route("/v1/slow", slow)
        limits = gateway.app.state.services.limits
        threads = [
            threading.Thread(
                target=httpx.get,
                args=[f"{gateway.url}/v1/slow"],
                kwargs={"headers": headers, "timeout": 20},
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        assert started.wait(10)
        for _ in range(1000):
            if sum(limits._at_once.values()) == 2:
                break
            time.sleep(0.01)
        refused = httpx.get(f"{gateway.url}/v1/ads/kg/1", headers=headers)
        release.set()
        for thread in threads:
            thread.join()
    assert (refused.status_code, refused.json()["allowed"]) == (429, 2)


def test_a_connection_may_carry_many_requests(gateway: LiveGateway):
    with httpx.Client(headers={"X-Long": "x" * 30_000}) as client:
        answers = [
            client.post(f"{gateway.url}/v1/ads/kg/1/feedback", json={"task": "x" * 1000})
            for _ in range(5)
        ]
    assert [answer.status_code for answer in answers] == [422] * 5
