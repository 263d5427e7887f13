"""Ten thousand malformed requests over real sockets: each gets the right refusal.

The gateway runs in a separate process, with keys. It returns no 5xx, its memory does not grow, it
writes only what it accepted, and it still answers a valid request.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.edge import protocol
from gateway.edge.keys import make
from lalafo_assets.bench.gateway.place import RunningGateway, run_gateway
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from tests.conftest import BrokerUnderTest
from tests.support.gateway_live import live_gateway
from tests.support.odd_requests import UNCLOSED, Odd, odd_requests

COUNT, WARM = 10_000, 2_000
CONNECTIONS = 16
ANSWER_WITHIN_S = 90.0
MAX_GROWTH_MB = 30.0
MAX_SHOWN = 8

UPLOAD = re.compile(r"store/uploads/[0-9a-f/]+/([0-9a-f]{64})(\.\w+)?$")


@dataclass
class Seen:
    """The statuses, the kinds of requests, and a line for each wrong response."""

    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@pytest.fixture
def served(
    database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path
) -> Iterator[tuple[RunningGateway, Path]]:
    """A gateway with its own home, in a folder that nothing else writes to."""
    broker = BrokerUnderTest("embedded", embedded_broker.exports())
    settings = broker.settings(home=tmp_path / "home")
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics(partitions=1)
    environment = {
        **broker.environment,
        "LALAFO_HOME": str(settings.home),
        "LALAFO_STORE_URL": "",
        "LALAFO_DATABASE_URL": database.url.render_as_string(),
        "LALAFO_ADS_TOPIC": settings.ads_topic,
        "LALAFO_DLQ_TOPIC": settings.dlq_topic,
        "LALAFO_MAX_WAIT_S": "0.01",  # no session runs: the original API's routes would wait 5 s
    }
    with run_gateway(environment, tmp_path / "gateway.log") as gateway:
        yield gateway, tmp_path


def test_ten_thousand_odd_requests(served: tuple[RunningGateway, Path], database: Database):
    """Each gets the right response, memory stays flat, and no file or row is left behind."""
    gateway, folder = served
    key = make(database, "odd", scopes=("ingest", "read", "feedback")).text
    seen = Seen()
    requests = odd_requests(COUNT, seed=20_261_123)
    asyncio.run(send_all(gateway.url, key, [next(requests) for _ in range(WARM)], seen))
    warm_mb = gateway.rss_mb
    asyncio.run(send_all(gateway.url, key, list(requests), seen))
    examples = "\n".join(seen.wrong[:MAX_SHOWN])
    assert not seen.wrong, f"{len(seen.wrong)} wrong of {COUNT}; {seen.statuses}\n{examples}"
    assert sum(seen.kinds.values()) == COUNT
    assert min(seen.kinds.values()) >= 5, "every kind was sent"
    assert gateway.rss_mb - warm_mb < MAX_GROWTH_MB
    check_files(folder)
    check_rows(database, seen)
    last = Seen()
    good = Odd("good", frozenset({202}), body=b'{"catalog": "kg", "ad_id": "last", "revision": 1}')
    asyncio.run(send_all(gateway.url, key, [good], last))
    assert last.statuses == {202: 1}, last.wrong


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Junk: ", b"x" * 100_000),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"X-Junk: x\r\n" * 10_000),
        (b"GET /", b"x" * 100_000),
    ],
    ids=["one header", "many headers", "address"],
)
def test_a_head_without_end_is_refused(
    served: tuple[RunningGateway, Path], start: bytes, more: bytes
):
    """With or without a key: the gateway does not buffer an unlimited request head."""
    gateway, _ = served
    before_mb = gateway.rss_mb
    answer = asyncio.run(pour(gateway.url, start, more))
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"allowed":65536' in answer
    assert gateway.rss_mb - before_mb < 15


def test_a_head_that_never_comes_ends_its_connection(
    database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path, monkeypatch
):
    """Silent from the start, or in the middle of a header; an idle connection after a response is
    kept open."""
    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 0.3)
    settings = BrokerUnderTest("embedded", embedded_broker.exports()).settings(
        home=tmp_path, database_url=database.url.render_as_string()
    )
    request = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"
    with live_gateway(settings) as gateway:
        for start in (b"", request[:9]):
            assert asyncio.run(pour(gateway.url, start, b"")) == b""
        assert asyncio.run(ask_twice(gateway.url, request, pause_s=0.6)) == 2


async def pour(url: str, first: bytes, more: bytes) -> bytes:
    """Send bytes; return everything received until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    async with asyncio.timeout(ANSWER_WITHIN_S):
        writer.write(first)
        for _ in range(200 if more else 0):
            writer.write(more)
            await writer.drain()
            if reader.at_eof():
                break
        answer = await reader.read()
    writer.transport.abort()  # don't wait for unsent data
    return answer


async def ask_twice(url: str, request: bytes, *, pause_s: float) -> int:
    """Send two requests on one connection with a pause between them; count the responses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    answered = 0
    for _ in range(2):
        writer.write(request)
        answered += (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        await reader.readexactly(2)
        await asyncio.sleep(pause_s)
    writer.close()
    return answered


async def send_all(url: str, key: str, requests: list[Odd], seen: Seen) -> None:
    """Send the requests over several connections, reusing each until the gateway closes it."""
    queue = iter(requests)

    async def worker() -> None:
        connection = Connection(url)
        for odd in queue:
            status, body = await connection.send(odd, key)
            judge(odd, status, body, seen)
        connection.close()

    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))


def judge(odd: Odd, status: int, body: bytes, seen: Seen) -> None:
    """Record a response, and a line about it if it is wrong."""
    seen.statuses[status] += 1
    seen.kinds[odd.kind] += 1
    why = None
    if status not in odd.expected:
        why = f"{status}, expected {sorted(odd.expected)}"
    elif status >= 400 and odd.kind != "no HTTP":
        why = not_a_refusal(odd, status, body)
    if why is not None:
        seen.wrong.append(
            f"{odd.kind}: {why}: {odd.method} {odd.path[:80]} {odd.headers!r:.120} "
            f"{odd.body[:160]!r} -> {body[:240]!r}"
        )


def not_a_refusal(odd: Odd, status: int, body: bytes) -> str | None:
    """Why an error response does not have the documented shape; None if it has."""
    if body == b"Invalid HTTP request received.":
        return None  # uvicorn's own response, before there is a request
    try:
        problem = json.loads(body)
    except ValueError:
        return "the error is not JSON"
    if b"Traceback" in body or b"/gateway/" in body or b"postgresql" in body:
        return "the error contains internal details"
    if odd.path.startswith(("/classify", "/v4/")):
        return None if problem.get("Status") == "Error" and problem.get("Message") else "no error"
    members = {"type", "title", "status", "detail", "instance"}
    return (
        None if members <= set(problem) and problem["status"] == status else "no problem document"
    )


class Connection:
    """A connection that is reused until the server closes it, and then opened again."""

    def __init__(self, url: str) -> None:
        self._port = urlsplit(url).port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, odd: Odd, key: str) -> tuple[int, bytes]:
        """Send a request; return the status and body, or UNCLOSED if there was no response."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            if self._reader is None or self._reader.at_eof():
                self.close()
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            assert self._writer is not None
            try:
                self._writer.write(odd.wire(key))
                await self._writer.drain()
                if odd.cut:
                    self._writer.write_eof()
                return await self._answer()
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
                return UNCLOSED, b""
            finally:
                if odd.cut or UNCLOSED in odd.expected or "Length" in odd.kind:
                    self.close()

    async def _answer(self) -> tuple[int, bytes]:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        if "content-length" in headers:
            body = await self._reader.readexactly(int(headers["content-length"]))
        else:
            body = await self._reader.read()
        if headers.get("connection") == "close":
            self.close()
        return int(status.split(" ")[1]), body

    def close(self) -> None:
        """Close the connection; closing it again does nothing."""
        if self._writer is not None:
            self._writer.transport.abort()  # don't wait for unsent data
        self._reader = self._writer = None


def check_files(folder: Path) -> None:
    """Besides the log there are only uploads, named by their digests."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert "gateway.log" in files
    unexpected = [name for name in files - {"gateway.log"} if UPLOAD.search(name) is None]
    assert unexpected == []
    log = (folder / "gateway.log").read_text()
    assert "Traceback" not in log


def check_rows(database: Database, seen: Seen) -> None:
    """The database holds one row for each accepted ad, and no others."""
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT (catalog, ad_id)) FROM lalafo.accepted_ads")
        rows, distinct = cursor.fetchall()[0]
    assert rows == distinct == seen.statuses[202]
