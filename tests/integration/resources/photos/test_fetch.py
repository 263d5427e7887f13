"""Fetching from a server that violates HTTP: bytes within the limits, or one failure reason."""

import asyncio
import errno
import gzip
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from ops.errors import BadInputError, Reason
from resources.photos.addresses import AddressGuard, is_public
from resources.photos.fetch import FetchLimits, PhotoFetcher
from resources.settings import Settings
from tests.support import odd_photos as odd
from tests.support.odd_host import OddHost, answer, redirect

PHOTO = odd.jpeg()
LIMITS = FetchLimits(
    timeout_s=5.0,
    max_bytes=100_000,
    max_redirects=3,
    attempts=3,
    connections=8,
    allow_private=True,
)


def limits(**changes: Any) -> FetchLimits:
    return FetchLimits(**{name: getattr(LIMITS, name) for name in LIMITS.__slots__} | changes)


class FakeSleep:
    """Does not sleep, but records the requested seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class FakeResolver(AbstractResolver):
    """Answers each lookup with the next of its addresses, and with the last one from then on."""

    def __init__(self, *addresses: str | list[str] | OSError) -> None:
        self.addresses = list(addresses)
        self.lookups: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.lookups.append(host)
        found = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        if isinstance(found, OSError):
            raise found
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in ([found] if isinstance(found, str) else found)
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def run_with_host(test: Callable[[OddHost], Awaitable[None]]) -> None:
    """Run a test with a host."""

    async def run() -> None:
        async with OddHost() as host:
            await test(host)

    asyncio.run(run())


def outcome(
    answers: Any, fetch_limits: FetchLimits = LIMITS, **ports: Any
) -> tuple[bytes | Reason, OddHost]:
    """The bytes or the failure reason of fetching /photo, and the host."""
    results: list[Any] = []

    async def test(host: OddHost) -> None:
        host.answers["/photo"] = answers
        results.append(host)
        async with PhotoFetcher(fetch_limits, **({"sleep": FakeSleep()} | ports)) as fetcher:
            try:
                results.append(await fetcher.fetch(host.url("/photo")))
            except BadInputError as error:
                assert "127.0.0" not in error.detail.replace("127.0.0.1", "", 1)
                assert "/photo" not in error.detail
                results.append(error.reason)

    run_with_host(test)
    return results[1], results[0]


async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept the request and send nothing."""
    await reader.read()


def dripping(start: bytes, drop: bytes) -> Callable[..., Awaitable[None]]:
    """Send `start` at once, then a drop every 5 ms without end."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.005)

    return drip


def flooding(start: bytes, chunk: bytes) -> Callable[..., Awaitable[None]]:
    """Send without end, as fast as the client reads."""

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(chunk)
            await writer.drain()

    return flood


def breaking_off(start: bytes) -> Callable[..., Awaitable[None]]:
    """Send `start`, then reset the connection."""

    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.transport.abort()

    return reset


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HTML = b"<!DOCTYPE html>\n<html><title>Sign in</title></html>" + b" " * 2000
FLOOD_CHUNK = b"8000\r\n" + PHOTO[:20] + bytes(0x8000 - 20) + b"\r\n"

GOOD = {
    "length": answer(PHOTO),
    "no content type": answer(PHOTO),
    "wrong content type": answer(PHOTO, headers="Content-Type: text/html\r\n"),
    "chunked": CHUNKED + b"%x\r\n" % len(PHOTO) + PHOTO + b"\r\n0\r\n\r\n",
    "empty": answer(b""),
    "identity": answer(PHOTO, headers="Content-Encoding: identity\r\n"),
    "a store's coding": answer(PHOTO, headers="Content-Encoding: aws-chunked\r\n"),
    "no coding": answer(PHOTO, headers="Content-Encoding: UTF-8\r\n"),
    "a long header": answer(PHOTO, headers=f"Content-Security-Policy: {'x' * 60_000}\r\n"),
    "as long as allowed": answer(PHOTO + bytes(100_000 - len(PHOTO))),
}


@pytest.mark.parametrize("raw", GOOD.values(), ids=GOOD.keys())
def test_a_photo_comes_as_it_was_sent(raw: bytes) -> None:
    """Every byte of the body, whatever its content type."""
    body = PHOTO if b"chunked" in raw else raw.partition(b"\r\n\r\n")[2]
    got, host = outcome(raw)
    assert got == body
    assert len(host.requests) == 1


PERMANENT: dict[str, tuple[Any, Reason]] = {
    "404": (answer(status="404 Not Found"), Reason.FETCH_NOT_FOUND),
    "410": (answer(status="410 Gone"), Reason.FETCH_NOT_FOUND),
    "401": (answer(status="401 Unauthorized"), Reason.FETCH_HTTP_REFUSED),
    "403": (answer(status="403 Forbidden"), Reason.FETCH_HTTP_REFUSED),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", Reason.FETCH_HTTP_REFUSED),
    "redirect to nowhere": (answer(status="302 Found"), Reason.FETCH_HTTP_REFUSED),
    "too long by its header": (answer(length=100_001), Reason.FETCH_TOO_LARGE),
    "too long by a byte": (answer(PHOTO + bytes(100_001 - len(PHOTO))), Reason.FETCH_TOO_LARGE),
    "endless": (flooding(CHUNKED, FLOOD_CHUNK), Reason.FETCH_TOO_LARGE),
    "endless without framing": (
        flooding(b"HTTP/1.0 200 OK\r\n\r\n" + PHOTO[:20], bytes(30_000)),
        Reason.FETCH_TOO_LARGE,
    ),
    "HTML": (answer(HTML, headers="Content-Type: image/jpeg\r\n"), Reason.FETCH_NOT_A_PHOTO),
    "endless HTML": (
        flooding(CHUNKED, b"400\r\n" + HTML[:0x400] + b"\r\n"),
        Reason.FETCH_NOT_A_PHOTO,
    ),
    "JSON": (answer(b'{"error": "sign in"}'), Reason.FETCH_NOT_A_PHOTO),
    "text in UTF-8": (answer("\ufeffpas trouv\u00e9".encode()), Reason.FETCH_NOT_A_PHOTO),
    "SVG": (answer(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), Reason.FETCH_NOT_A_PHOTO),
    "gzip bomb": (
        answer(gzip.compress(bytes(50_000_000)), headers="Content-Encoding: gzip\r\n"),
        Reason.FETCH_NOT_A_PHOTO,
    ),
    "no HTTP": (b"220 mail.example ESMTP\r\n\r\n", Reason.FETCH_HTTP_ERROR),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        Reason.FETCH_HTTP_ERROR,
    ),
    "a huge header": (answer(headers=f"X: {'x' * 100_000}\r\n"), Reason.FETCH_HTTP_ERROR),
    "redirect to itself": (redirect("/photo"), Reason.FETCH_TOO_MANY_REDIRECTS),
    "redirect to a file": (redirect("file:///etc/passwd"), Reason.FETCH_BAD_URL),
    "redirect to ftp": (redirect("ftp://example.org/photo"), Reason.FETCH_BAD_URL),
    "redirect with a password": (redirect("http://a:b@127.0.0.1/"), Reason.FETCH_BAD_URL),
    "redirect to mail": (redirect("http://127.0.0.1:25/"), Reason.FETCH_BAD_URL),
}


@pytest.mark.parametrize(("raw", "reason"), PERMANENT.values(), ids=PERMANENT.keys())
def test_a_permanent_failure_is_not_retried(raw: Any, reason: Reason) -> None:
    """One reason, and no second attempt, which would fail the same way."""
    sleep = FakeSleep()
    got, host = outcome(raw, sleep=sleep)
    assert got is reason
    assert sleep.seconds == []
    assert len(host.requests) == (4 if reason is Reason.FETCH_TOO_MANY_REDIRECTS else 1)


TEMPORARY: dict[str, tuple[Any, Reason]] = {
    "503": (answer(status="503 Busy"), Reason.FETCH_HTTP_ERROR),
    "500": (answer(status="500 Broken"), Reason.FETCH_HTTP_ERROR),
    "429": (answer(status="429 Slow down"), Reason.FETCH_HTTP_ERROR),
    "closed at once": (breaking_off(b""), Reason.FETCH_UNREACHABLE),
    "reset in the headers": (breaking_off(b"HTTP/1.1 200 OK\r\nConte"), Reason.FETCH_UNREACHABLE),
    "reset in the body": (breaking_off(answer(PHOTO[:500], length=999)), Reason.FETCH_UNREACHABLE),
    "reset in a chunk": (breaking_off(CHUNKED + b"ff\r\n" + PHOTO[:50]), Reason.FETCH_UNREACHABLE),
}


@pytest.mark.parametrize(("raw", "reason"), TEMPORARY.values(), ids=TEMPORARY.keys())
def test_a_temporary_failure_is_retried(raw: Any, reason: Reason) -> None:
    """A good answer after two bad ones is a success; three bad ones are a temporary failure."""
    sleep = FakeSleep()
    got, _ = outcome([raw, raw, answer(PHOTO)], sleep=sleep, jitter=lambda: 0.5)
    assert got == PHOTO
    # aiohttp itself repeats a request once, immediately, if the connection was lost before an
    # answer.
    assert sleep.seconds == pytest.approx([0.1, 0.2][: len(sleep.seconds)])
    assert sleep.seconds != []
    got, _ = outcome(raw)
    assert got is reason
    assert BadInputError(reason, "").temporary


def test_a_refused_connection_is_retried() -> None:
    """Nothing listens on the port: three attempts, then unreachable."""
    sleep = FakeSleep()

    async def test(host: OddHost) -> None:
        await host.__aexit__(None, None, None)
        async with PhotoFetcher(LIMITS, sleep=sleep) as fetcher:
            with pytest.raises(BadInputError) as caught:
                await fetcher.fetch(host.url("/photo"))
        assert caught.value.reason is Reason.FETCH_UNREACHABLE
        assert "ECONNREFUSED" in caught.value.detail

    async def run() -> None:
        await test(await OddHost().__aenter__())

    asyncio.run(run())
    assert len(sleep.seconds) == 2


def test_retry_after_is_respected_within_the_budget() -> None:
    """It waits two seconds, but not ten: the time limit is five seconds."""
    soon = answer(status="503 Busy", headers="Retry-After: 2\r\n")
    sleep = FakeSleep()
    got, _ = outcome([soon, answer(PHOTO)], sleep=sleep, jitter=lambda: 0.0)
    assert (got, sleep.seconds) == (PHOTO, [2.0])

    date = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    soon = answer(status="429 Slow down", headers=f"Retry-After: {date}\r\n")
    sleep = FakeSleep()
    got, _ = outcome([soon, answer(PHOTO)], sleep=sleep, jitter=lambda: 0.0)
    assert got == PHOTO
    assert sleep.seconds[0] == pytest.approx(2.5, abs=0.6)

    late = answer(status="503 Busy", headers="Retry-After: 10\r\n")
    got, host = outcome([late, answer(PHOTO)])
    assert (got, len(host.requests)) == (Reason.FETCH_HTTP_ERROR, 1)

    odd_values = ["soon", "", "-1", "1 Jan 99999999999", f"1 Jan 2026 0:0:0 +{'9' * 99}", "\xb2"]
    for odd_value in odd_values:
        busy = answer(status="503 Busy", headers=f"Retry-After: {odd_value}\r\n")
        assert outcome([busy, answer(PHOTO)])[0] == PHOTO


SLOW = {
    "no answer": stall,
    "dripping headers": dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "dripping body": dripping(answer(length=90_000), b"\xff"),
    "dripping chunks": dripping(CHUNKED, b"1\r\n\xff\r\n"),
    "endless continue": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("raw", SLOW.values(), ids=SLOW.keys())
def test_time_covers_everything(raw: Any) -> None:
    """Whatever the server sends meanwhile, the fetch ends at its time limit."""
    start = time.monotonic()
    got, host = outcome(raw, limits(timeout_s=0.2))
    assert got is Reason.FETCH_TIMEOUT
    assert time.monotonic() - start < 2
    assert host.connections == 1


def test_time_covers_all_attempts_together() -> None:
    """Slow failures share one time limit."""

    async def slow_503(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.08)
        writer.write(answer(status="503 Busy"))

    got, host = outcome(slow_503, limits(timeout_s=0.2, attempts=100))
    assert got in (Reason.FETCH_TIMEOUT, Reason.FETCH_HTTP_ERROR)
    assert 1 <= len(host.requests) <= 3


def test_a_slow_lookup_counts() -> None:
    """The time limit includes the DNS lookup."""

    class Hanging(FakeResolver):
        async def resolve(self, *_: Any, **__: Any) -> list[ResolveResult]:
            await asyncio.sleep(60)
            raise AssertionError

    async def run() -> None:
        async with PhotoFetcher(limits(timeout_s=0.1), resolver=Hanging("")) as fetcher:
            with pytest.raises(BadInputError) as caught:
                await fetcher.fetch("http://photos.test/1.jpg")
            assert caught.value.reason is Reason.FETCH_TIMEOUT

    asyncio.run(run())


@pytest.mark.parametrize(("code", "lookups"), [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 3)])
def test_an_unknown_name_is_unreachable(code: int, lookups: int) -> None:
    """A name that does not exist is looked up once; a busy resolver is retried."""
    names = FakeResolver(socket.gaierror(code, "no"))

    async def run() -> None:
        async with PhotoFetcher(LIMITS, resolver=names, sleep=FakeSleep()) as fetcher:
            with pytest.raises(BadInputError) as caught:
                await fetcher.fetch("http://photos.test/1.jpg")
            assert caught.value.reason is Reason.FETCH_UNREACHABLE

    asyncio.run(run())
    assert len(names.lookups) == lookups


def test_redirects_are_followed_within_their_number() -> None:
    """Relative and absolute redirects, of all five statuses; a fourth in a row fails."""

    async def test(host: OddHost) -> None:
        host.answers = {
            "/1": redirect("/2", "301 Moved"),
            "/2": redirect(host.url("/3?a=b#c"), "307 Temporary"),
            "/3": redirect("//127.0.0.1:" + str(host.port) + "/4", "308 Permanent"),
            "/4": answer(PHOTO),
            "/0": redirect("1", "303 See Other"),
        }
        async with PhotoFetcher(LIMITS) as fetcher:
            assert await fetcher.fetch(host.url("/1")) == PHOTO
            with pytest.raises(BadInputError) as caught:
                await fetcher.fetch(host.url("/0"))
            assert caught.value.reason is Reason.FETCH_TOO_MANY_REDIRECTS
        assert host.connections == 1

    run_with_host(test)


def test_connections_are_reused() -> None:
    """Twenty photos in turn use one connection, a hundred at once use eight."""

    async def test(host: OddHost) -> None:
        host.answers["/photo"] = answer(PHOTO)
        host.answers["/missing"] = answer(b"gone", status="404 Not Found")
        async with PhotoFetcher(LIMITS) as fetcher:
            for _ in range(20):
                assert await fetcher.fetch(host.url("/photo")) == PHOTO
            assert host.connections == 1
            await asyncio.gather(*(fetcher.fetch(host.url(f"/photo?{n}")) for n in range(100)))
            assert host.connections <= LIMITS.connections
        assert len(host.requests) == 120

    run_with_host(test)


def test_a_closed_idle_connection_is_replaced() -> None:
    """A server that closes kept connections causes no failure."""

    async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(PHOTO))
        writer.close()

    async def test(host: OddHost) -> None:
        host.answers["/photo"] = once
        async with PhotoFetcher(LIMITS, sleep=FakeSleep()) as fetcher:
            for _ in range(5):
                assert await fetcher.fetch(host.url("/photo")) == PHOTO

    run_with_host(test)


def test_waiting_for_a_connection_does_not_count_for_the_time_limit() -> None:
    """Ten photos of 60 ms each over one connection, with a limit of 400 ms each."""

    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.06)
        writer.write(answer(PHOTO))

    async def test(host: OddHost) -> None:
        host.answers["/photo"] = slow
        async with PhotoFetcher(limits(connections=1, timeout_s=0.4)) as fetcher:
            got = await asyncio.gather(*(fetcher.fetch(host.url("/photo")) for _ in range(10)))
            assert got == [PHOTO] * 10
        assert host.connections == 1

    run_with_host(test)


def test_requests_contain_no_extra_headers() -> None:
    """No cookie that a server set, no referrer, no fragment, no encoding but identity."""

    async def test(host: OddHost) -> None:
        host.answers = {
            "/1": answer(
                status="302 Found",
                headers="Location: /2#frag\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d; Path=/\r\n",
            ),
            "/2": answer(PHOTO),
        }
        async with PhotoFetcher(LIMITS) as fetcher:
            await fetcher.fetch(host.url("/1#frag"))
        for request in host.requests:
            assert "cookie" not in request.lower() and "referer" not in request.lower()
            assert "frag" not in request
            assert "Accept-Encoding: identity" in request

    run_with_host(test)


def test_a_proxy_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would connect to addresses without the guard."""

    async def test(host: OddHost) -> None:
        host.answers["/photo"] = answer(PHOTO)
        async with OddHost() as proxy:
            for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy.url(""))
            async with PhotoFetcher(LIMITS) as fetcher:
                assert await fetcher.fetch(host.url("/photo")) == PHOTO
            assert proxy.connections == 0

    run_with_host(test)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "photo.jpg",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.org/1.jpg",
        "gopher://example.org/",
        "data:image/gif;base64,R0lGODlhAQABAAAAACw=",
        "javascript:alert(1)",
        "http://",
        "http:///1.jpg",
        "http://user:secret@example.org/1.jpg",
        "http://user@example.org/1.jpg",
        "http://example.org:99999/",
        "http://example.org:0/",
        "http://example.org:22/",
        "http://example.org:eighty/",
        "http://[::1/",
        "http://exa mple.org/",
        "http://" + "a" * 70 + ".org/",
        "http://example.org/" + "a" * 9_000,
        "http://\ud800.org/",
        "http://2130706433:8080/",
        "http://127.1:8080/",
        "http://0177.0.0.1:8080/",
        "http://xn--a/1.jpg",
    ],
)
def test_an_invalid_photo_url_is_refused(url: str) -> None:
    """Before a lookup or a connection; the message does not repeat the URL."""

    async def run() -> None:
        async with PhotoFetcher(LIMITS, sleep=FakeSleep()) as fetcher:
            with pytest.raises(BadInputError) as caught:
                await fetcher.fetch(url)
            assert caught.value.reason is Reason.FETCH_BAD_URL
            assert "secret" not in caught.value.detail
            assert len(caught.value.detail) < 200

    asyncio.run(run())


class WithoutIpv6(AddressGuard):
    """As on a machine whose kernel has no IPv6."""

    def open_socket(self, address: tuple[Any, ...]) -> socket.socket:
        if address[0] == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return super().open_socket(address)


@pytest.mark.parametrize("guard", [AddressGuard, WithoutIpv6])
def test_a_host_is_reached_by_the_address_that_works(guard: type[AddressGuard]) -> None:
    """Its IPv6 address can't be reached, or this machine has no IPv6: its other address is used."""

    async def test(host: OddHost) -> None:
        host.answers["/photo"] = answer(PHOTO)
        names = FakeResolver(["::1", "127.0.0.1"])
        both = guard(allows=lambda address: address in ("::1", "127.0.0.1"))
        guarded = limits(allow_private=False, attempts=1)
        async with PhotoFetcher(guarded, guard=both, resolver=names) as fetcher:
            assert await fetcher.fetch(host.url("/photo", "photos.test")) == PHOTO

    run_with_host(test)


def test_an_https_url_without_tls_is_refused() -> None:
    """The server does not speak TLS: one attempt, no fallback to plain HTTP."""
    accepted: list[int] = []

    def send_plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(1)
        writer.write(answer(PHOTO))
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(send_plain, "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        async with server, PhotoFetcher(LIMITS, sleep=FakeSleep()) as fetcher:
            with pytest.raises(BadInputError) as caught:
                await fetcher.fetch(f"https://127.0.0.1:{port}/photo")
            assert caught.value.reason is Reason.FETCH_UNREACHABLE
        assert accepted == [1]

    asyncio.run(run())


LOOPBACK_SPELLINGS = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST.",
    "0.0.0.0",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "①②⑦.⓪.⓪.①",
]


@pytest.mark.parametrize("host_text", LOOPBACK_SPELLINGS)
def test_no_spelling_of_loopback_is_connected_to(host_text: str) -> None:
    """The host on loopback counts no connection."""

    async def test(private_host: OddHost) -> None:
        private_host.answers["/"] = answer(PHOTO)
        refusing = limits(allow_private=False, timeout_s=2)
        async with PhotoFetcher(refusing, sleep=FakeSleep()) as fetcher:
            with pytest.raises(BadInputError) as caught:
                await fetcher.fetch(private_host.url("/", host_text))
        # Not every resolver resolves "localhost." with its dot.
        allowed = {Reason.FETCH_ADDRESS_REFUSED, Reason.FETCH_BAD_URL, Reason.FETCH_UNREACHABLE}
        assert caught.value.reason in allowed - (
            set() if host_text.endswith(".") else {Reason.FETCH_UNREACHABLE}
        )
        assert private_host.connections == 0

    run_with_host(test)


def test_loopback_is_reached_when_private_addresses_are_allowed() -> None:
    """With the setting on the same request succeeds: so the guard made the refusals above."""
    assert outcome(answer(PHOTO))[0] == PHOTO


ONLY_FIRST = AddressGuard(allows=lambda address: address == "127.0.0.1")
"""For tests: 127.0.0.1 counts as public, 127.0.0.2 as private."""


def run_with_private_host(
    test: Callable[[OddHost, OddHost], Awaitable[None]],
) -> None:
    """Run a test with a public host and a private one on the same port, which must stay unused."""

    async def run() -> None:
        async with OddHost() as host:
            private_host = OddHost("127.0.0.2")
            private_host.port = host.port
            private_host.answers["/photo"] = answer(PHOTO)
            async with private_host:
                await test(host, private_host)
            assert private_host.connections == 0

    asyncio.run(run())


@pytest.mark.parametrize("target", ["127.0.0.2", "private.test"])
def test_a_redirect_to_a_private_address_is_refused(target: str) -> None:
    """By address and by name, within a chain of redirects."""

    async def test(host: OddHost, private_host: OddHost) -> None:
        host.answers["/photo"] = redirect("/second")
        host.answers["/second"] = redirect(private_host.url("/photo", target))
        names = FakeResolver("127.0.0.2")
        private = limits(allow_private=False)
        async with PhotoFetcher(private, guard=ONLY_FIRST, resolver=names) as fetcher:
            with pytest.raises(BadInputError) as caught:
                await fetcher.fetch(host.url("/photo"))
        assert caught.value.reason is Reason.FETCH_ADDRESS_REFUSED
        assert len(host.requests) == 2

    run_with_private_host(test)


def test_dns_rebinding_does_not_reach_a_private_address() -> None:
    """Public at the first lookup, private later: the checked address is the one connected to."""

    async def test(host: OddHost, private_host: OddHost) -> None:
        host.answers["/photo"] = [breaking_off(b""), answer(PHOTO)]
        names = FakeResolver("127.0.0.1", "127.0.0.2")
        private = limits(allow_private=False)
        async with PhotoFetcher(
            private, guard=ONLY_FIRST, resolver=names, sleep=FakeSleep()
        ) as fetcher:
            assert await fetcher.fetch(host.url("/photo", "photos.test")) == PHOTO
            with pytest.raises(BadInputError) as caught:
                await fetcher.fetch(host.url("/photo", "other.test"))
        assert caught.value.reason is Reason.FETCH_ADDRESS_REFUSED
        assert names.lookups == ["photos.test", "other.test"]

    run_with_private_host(test)


@pytest.mark.parametrize("order", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
def test_a_name_with_one_private_address_is_refused(order: list[str]) -> None:
    """The name is refused as a whole; its public address is not tried."""

    async def test(host: OddHost, private_host: OddHost) -> None:
        private = limits(allow_private=False)
        async with PhotoFetcher(private, guard=ONLY_FIRST, resolver=FakeResolver(order)) as fetcher:
            with pytest.raises(BadInputError) as caught:
                await fetcher.fetch(host.url("/photo", "photos.test"))
        assert caught.value.reason is Reason.FETCH_ADDRESS_REFUSED
        assert host.connections == 0

    run_with_private_host(test)


def test_the_socket_hook_checks_the_address_itself() -> None:
    """No socket is opened for it, whatever the resolver returned."""
    guard = AddressGuard()
    for address in ("127.0.0.1", "169.254.169.254", "2130706433", "::1", "::ffff:8.8.8.8"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with pytest.raises(OSError, match="not public"):
            guard.open_socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))
    guard.open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80))).close()


NOT_PUBLIC = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255
    127.0.0.1 127.255.255.255 168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1
    192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1
    203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::ffff:8.8.8.8
    ::8.8.8.8 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:808:808::1 3fff::1
    fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 2606:4700::1%1 fec0::1 ff02::1 5f00::1 4000::1
    0x7f.1 127.1 2130706433 localhost 1.2.3.4.5
""".split()  # noqa: SIM905 - a list of strings would take eighty lines

PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1
    172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 223.255.255.255 2606:4700:4700::1111
    2a00:1450::1 2001:4860:4860::8888 2400:cb00::1
""".split()  # noqa: SIM905 - a list of strings would take eighty lines


@pytest.mark.parametrize(
    "address",
    NOT_PUBLIC,
)
def test_internal_addresses_are_not_public(address: str) -> None:
    """Private, loopback, link-local, shared, reserved, embedded, and odd spellings."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    PUBLIC,
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    """Including the neighbours of every refused network."""
    assert is_public(address)


def test_settings_become_limits() -> None:
    """Each limit has its own setting."""
    settings = Settings(
        fetch_timeout_s=1.5,
        max_photo_bytes=2_000_000,
        fetch_max_redirects=7,
        fetch_attempts=4,
        fetch_connections=9,
        fetch_allow_private=True,
    )
    assert PhotoFetcher.from_settings(settings)._limits == FetchLimits(
        timeout_s=1.5,
        max_bytes=2_000_000,
        max_redirects=7,
        attempts=4,
        connections=9,
        allow_private=True,
    )
