"""Photo URLs from callers: none reaches a private address, and every ad is accounted for.

A canary server on loopback counts connections. All the tricks are posted through the gateway to a
session that fetches as in production. A control test then reaches the same canary with private
addresses allowed, which shows that it counts.
"""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from ops.errors import Reason
from resources.photos.addresses import AddressGuard, is_public
from resources.photos.fetch import FetchLimits, PhotoFetcher
from tests.support.gateway_live import live_gateway
from tests.support.live_session import Live
from tests.support.odd_photos import jpeg, noisy
from tests.support.working_sessions import Working, until

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)

PHOTO = jpeg(noisy(80, 60, 1))
OPEN_ADDRESS = "127.0.0.2"
"""Counts as public here: tests of redirects need a host that is allowed."""

REASONS = {Reason.FETCH_ADDRESS_REFUSED, Reason.FETCH_BAD_URL, Reason.FETCH_UNREACHABLE}
"""Unreachable: a host name or notation that this machine's resolver does not know."""

# PORT is replaced with the canary's port. OPEN is replaced with the port of an allowed host, which
# redirects to the URL in its query.
TRICKS = [
    "http://127.0.0.1:PORT/a.jpg",
    "http://127.0.0.1.:PORT/a.jpg",
    "http://127.1:PORT/a.jpg",
    "http://127.0.1:PORT/a.jpg",
    "http://127.255.255.254:PORT/a.jpg",
    "http://2130706433:PORT/a.jpg",
    "http://0x7f000001:PORT/a.jpg",
    "http://0x7f.0.0.1:PORT/a.jpg",
    "http://0177.0.0.1:PORT/a.jpg",
    "http://017700000001:PORT/a.jpg",
    "http://0x7F.1:PORT/a.jpg",
    "http://00000177.0.0.01:PORT/a.jpg",
    "http://0:PORT/a.jpg",
    "http://0.0.0.0:PORT/a.jpg",
    "http://localhost:PORT/a.jpg",
    "http://LOCALHOST:PORT/a.jpg",
    "http://localhost.:PORT/a.jpg",
    "http://localhost.localdomain:PORT/a.jpg",
    "http://ip6-localhost:PORT/a.jpg",
    "http://[::1]:PORT/a.jpg",
    "http://[0:0:0:0:0:0:0:1]:PORT/a.jpg",
    "http://[::]:PORT/a.jpg",
    "http://[::ffff:127.0.0.1]:PORT/a.jpg",
    "http://[::ffff:7f00:1]:PORT/a.jpg",
    "http://[::127.0.0.1]:PORT/a.jpg",
    "http://[64:ff9b::7f00:1]:PORT/a.jpg",
    "http://[2002:7f00:1::]:PORT/a.jpg",
    "http://[fe80::1%25lo]:PORT/a.jpg",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:PORT/a.jpg",
    "http://①②⑦.⓪.⓪.①:PORT/a.jpg",
    "http://127。0。0。1:PORT/a.jpg",
    "http://%31%32%37.0.0.1:PORT/a.jpg",
    "http://127.0.0.1%2eexample:PORT/a.jpg",
    "http://photos.example@127.0.0.1:PORT/a.jpg",
    "http://user:secret@127.0.0.1:PORT/a.jpg",
    "http://photos.example#@127.0.0.1:PORT/a.jpg",
    "http://photos.example\\@127.0.0.1:PORT/a.jpg",
    "http://127.0.0.1:PORT\\@photos.example/a.jpg",
    "http:127.0.0.1:PORT/a.jpg",
    "http:///127.0.0.1:PORT/a.jpg",
    "//127.0.0.1:PORT/a.jpg",
    "http://127.0.0.1:PORT:80/a.jpg",
    " http://127.0.0.1:PORT/a.jpg",
    "http://127.0.0.1\t:PORT/a.jpg",
    "http://127.0.0.1\r\nHost: x:PORT/a.jpg",
    "HTTP://127.0.0.1:PORT/a.jpg",
    "https://127.0.0.1:PORT/a.jpg",
    "file:///etc/hostname",
    "file://127.0.0.1:PORT/a.jpg",
    "gopher://127.0.0.1:PORT/_GET%20/a.jpg",
    "ftp://127.0.0.1:PORT/a.jpg",
    "dict://127.0.0.1:PORT/a",
    "unix:///var/run/docker.sock",
    "data:image/jpeg;base64,/9j/4AAQ",
    "javascript:alert(1)",
    "http://127.0.0.1:22/a.jpg",
    "http://photos.example:25/a.jpg",
    "http://169.254.169.254/latest/meta-data/",
    "http://metadata.google.internal/a.jpg",
    "http://10.0.0.1:PORT/a.jpg",
    "http://192.168.0.1:PORT/a.jpg",
    "http://100.100.100.200/a.jpg",
    "http://private.example:PORT/a.jpg",
    "http://mixed.example:PORT/a.jpg",
    "http://mapped.example:PORT/a.jpg",
    "http://open.example:OPEN/?http://127.0.0.1:PORT/a.jpg",
    "http://open.example:OPEN/?//localhost:PORT/a.jpg",
    "http://open.example:OPEN/?http://[::ffff:127.0.0.1]:PORT/a.jpg",
    "http://open.example:OPEN/?http://open.example:OPEN/?http://2130706433:PORT/a.jpg",
    "http://open.example:OPEN/?file:///etc/hostname",
    "http://rebound.example:OPEN/?http://rebound.example:PORT/a.jpg",
    "http://",
    "http://xn--a/1.jpg",
    "http://[fe80::1%25lo]/1.jpg",
    "http://open.example:OPEN/?http://xn--a:PORT/1.jpg",
    "",
    "127.0.0.1:PORT",
]

NAMES = {
    "private.example": ["127.0.0.1"],
    "mixed.example": ["93.184.215.14", "127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "open.example": [OPEN_ADDRESS],
}


class Host:
    """A server on a loopback address that counts connections and redirects to its query's URL."""

    def __init__(self, address: str) -> None:
        self.hits: list[str] = []
        hits = self.hits

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, _, target = self.path.partition("?")
                self.send_response(302 if target else 200)
                if target:
                    self.send_header("Location", target)
                self.send_header("Content-Length", "0" if target else str(len(PHOTO)))
                self.end_headers()
                self.wfile.write(b"" if target else PHOTO)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        class Server(ThreadingHTTPServer):
            def verify_request(self, request: object, client_address: object) -> bool:
                hits.append(str(client_address))
                return True

        self._server = Server((address, 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Names(AbstractResolver):
    """Resolves names to this machine; `rebound.example` only from the second time on."""

    def __init__(self) -> None:
        self.resolved: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.resolved.append(host)
        addresses = NAMES.get(host)
        if host == "rebound.example":
            addresses = ["127.0.0.1" if self.resolved.count(host) > 1 else OPEN_ADDRESS]
        if addresses is None:  # the system's resolver, which accepts unusual notations of addresses
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [str(one[4][0]) for one in found]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """There is nothing to close."""


@pytest.fixture
def canary() -> Iterator[Host]:
    host = Host("127.0.0.1")
    yield host
    host.close()


@pytest.fixture
def open_host() -> Iterator[Host]:
    host = Host(OPEN_ADDRESS)
    yield host
    host.close()


def fetching(live: Live, *, allow_private: bool) -> Live:
    """The same, with a session that fetches as in production, except for the names above."""
    limits = FetchLimits(
        timeout_s=2.0,
        max_bytes=1_000_000,
        max_redirects=3,
        attempts=1,
        connections=8,
        allow_private=allow_private,
    )
    guard = AddressGuard(lambda address: address == OPEN_ADDRESS or is_public(address))
    parts = replace(live.parts, fetcher=lambda: PhotoFetcher(limits, resolver=Names(), guard=guard))
    return replace(live, parts=parts)


def post_all(live: Live, urls: list[str]) -> None:
    settings = live.settings.model_copy(update={"gateway_auth": "off"})
    with (
        live_gateway(settings) as gateway,
        httpx.Client(base_url=gateway.url, timeout=60) as client,
        Working(live) as worker,
    ):
        until(lambda: worker.partitions)
        for number, url in enumerate(urls):
            ad = {"catalog": "kg", "ad_id": str(number), "photos": [{"url": url}]}
            answer = client.post("/v1/ads", json=ad)
            assert answer.status_code == 202, f"{url}: {answer.text}"
        worker.wait_for(len(urls))
    assert worker.error is None, worker.error
    assert worker.total is not None and worker.total.unaccounted == 0


def test_no_address_reaches_the_canary(live: Live, canary: Host, open_host: Host) -> None:
    """Each photo fails with its reason, each ad is accounted for, and the canary gets no
    connection."""
    urls = [
        u.replace("PORT", str(canary.port)).replace("OPEN", str(open_host.port)) for u in TRICKS
    ]
    post_all(fetching(live, allow_private=False), urls)
    found = {
        int(ad_id): (reason, detail)
        for ad_id, reason, detail in live.rows(
            "SELECT p.ad_id, p.reason, f.detail FROM lalafo.ad_photos AS p "
            "JOIN lalafo.failures AS f ON f.subject = p.catalog || '/' || p.ad_id || '#0'"
        )
    }
    assert canary.hits == []
    assert sorted(found) == list(range(len(urls)))
    unexpected = {urls[n]: failure for n, failure in found.items() if failure[0] not in REASONS}
    assert unexpected == {}
    assert live.rows("SELECT status, count(*) FROM lalafo.ads GROUP BY 1") == [
        ("unscored", len(urls))
    ]
    assert len(open_host.hits) >= 5, "redirects were followed"
    refused = Counter(reason for reason, _ in found.values())
    assert refused[Reason.FETCH_ADDRESS_REFUSED] >= 20, refused


def test_the_canary_is_reached_if_private_addresses_are_allowed(
    live: Live, canary: Host, open_host: Host
) -> None:
    """The control: with private addresses allowed, the same URLs reach it."""
    plain = [f"http://127.0.0.1:{canary.port}/a.jpg", f"http://private.example:{canary.port}/a.jpg"]
    urls = [*plain, f"http://open.example:{open_host.port}/?{plain[0]}"]
    post_all(fetching(live, allow_private=True), urls)
    assert live.rows("SELECT status, count(*) FROM lalafo.ads GROUP BY 1") == [("scored", 3)]
    assert len(canary.hits) >= 2
