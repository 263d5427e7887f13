"""What goes over the wire to a photo's host: the request line, the Host header, and redirects."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.errors import BadInputError, Reason
from resources.photos.fetch import FetchLimits, PhotoFetcher
from tests.integration.resources.photos.test_fetch import ONLY_FIRST, FakeResolver
from tests.support import odd_photos as odd
from tests.support.odd_host import Answer, OddHost, answer
from tests.unit.resources.photos.test_urls import ENCODED, TEXTS, UNCHANGED

PHOTO = odd.jpeg()
LIMITS = FetchLimits(
    timeout_s=5.0,
    max_bytes=100_000,
    max_redirects=3,
    attempts=1,
    connections=8,
)


class AnyPath(dict[str, "Answer | list[Answer]"]):
    """Answers every path alike, or each request with the next of several answers."""

    def __init__(self, *answers: bytes) -> None:
        super().__init__()
        self._answers: list[Answer] = list(answers)

    def get(self, path: object, default: object = None) -> "list[Answer]":  # type: ignore[override]
        return self._answers


def sent_by(url: str, *answers: bytes) -> tuple[bytes | Reason, list[list[str]]]:
    """The bytes or the failure reason of a fetch, and the lines of each request's head.

    PORT in the URL and in the answers is the host's port; all names lead to it.
    """

    async def run() -> tuple[bytes | Reason, list[list[str]]]:
        async with (
            OddHost() as host,
            PhotoFetcher(LIMITS, resolver=FakeResolver("127.0.0.1"), guard=ONLY_FIRST) as fetcher,
        ):
            port = str(host.port)
            host.answers = AnyPath(*(one.replace(b"PORT", port.encode()) for one in answers))
            try:
                result: bytes | Reason = await fetcher.fetch(url.replace("PORT", port))
            except BadInputError as error:
                result = error.reason
            return result, [
                head.replace(port, "PORT").rstrip("\r\n").split("\r\n") for head in host.requests
            ]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("target", "sent"),
    [*((target, target) for target in UNCHANGED), *ENCODED.items()],
    ids=ascii,
)
def test_the_request_line_has_the_bytes_of_the_url(target: str, sent: str) -> None:
    """Received byte for byte; only what no URL may contain is encoded."""
    result, requests = sent_by(f"http://photos.test:PORT{target}", answer(PHOTO))
    assert result == PHOTO
    assert [lines[0] for lines in requests] == [f"GET {sent} HTTP/1.1"]


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("photos.test", "photos.test"),
        ("PHOTOS.test", "photos.test"),
        ("\u0444\u043e\u0442\u043e.\u0440\u0444", "xn--n1aalg.xn--p1ai"),
        ("127.0.0.1", "127.0.0.1"),
    ],
    ids=ascii,
)
def test_the_host_header_names_host_and_port(host: str, sent: str) -> None:
    """Once, in ASCII, with a port that is not the default one."""
    _, requests = sent_by(f"http://{host}:PORT/", answer(PHOTO))
    hosts = [line for line in requests[0] if line.lower().startswith("host:")]
    assert hosts == [f"Host: {sent}:PORT"]


def location(*values: bytes) -> bytes:
    """A redirect with these Location headers."""
    headers = b"".join(b"Location: " + value + b"\r\n" for value in values)
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n" + headers + b"\r\n"


REDIRECTS: dict[str, tuple[Sequence[bytes], str]] = {
    "a byte of Latin-1": ([b"/good/3\xf8.jpg"], "/good/3%F8.jpg"),
    "a byte at the end": ([b"/good/3.jpg\xf8"], "/good/3.jpg%F8"),
    "UTF-8": ([b"/3\xc3\xb8.jpg"], "/3%C3%B8.jpg"),
    "both": ([b"/\xc3\xb8\xf8"], "/%C3%B8%F8"),
    "encoded": ([b"/a%2Fb%3A.jpg?s=a%2Bb%2Fc%3D&k[]=1"], "/a%2Fb%3A.jpg?s=a%2Bb%2Fc%3D&k[]=1"),
    "spaces": ([b"  /a b.jpg  "], "/a%20b.jpg"),
    "relative": ([b"c/../d.jpg"], "/first/d.jpg"),
    "a query": ([b"?b=%2f"], "/first/1.jpg?b=%2f"),
    "an empty query": ([b"/2.jpg?"], "/2.jpg?"),
    "a fragment": ([b"/2.jpg#top"], "/2.jpg"),
    "relative to the scheme": ([b"//other.test:PORT/2.jpg"], "/2.jpg"),
    "absolute": ([b"HTTP://other.test:PORT/2.jpg"], "/2.jpg"),
    "a name in UTF-8": (["http://\u0444.test:PORT/2.jpg".encode()], "/2.jpg"),
    "the same header twice": ([b"/2.jpg", b"/2.jpg"], "/2.jpg"),
}


@pytest.mark.parametrize(("values", "sent"), REDIRECTS.values(), ids=REDIRECTS)
def test_a_redirect_is_followed_to_the_bytes_that_came(values: Sequence[bytes], sent: str) -> None:
    """Every byte of the Location header is in the next request line, or is encoded there."""
    result, requests = sent_by(
        "http://photos.test:PORT/first/1.jpg?a", location(*values), answer(PHOTO)
    )
    assert result == PHOTO
    assert [lines[0] for lines in requests][1:] == [f"GET {sent} HTTP/1.1"]


NOT_FOLLOWED: dict[str, tuple[Sequence[bytes], Reason]] = {
    "no header": ([], Reason.FETCH_HTTP_REFUSED),
    "an empty header": ([b""], Reason.FETCH_HTTP_REFUSED),
    "two different headers": ([b"/2.jpg", b"/3.jpg"], Reason.FETCH_BAD_URL),
    "a name in Latin-1": ([b"http://\xf8.test:PORT/"], Reason.FETCH_BAD_URL),
    "broken Punycode": ([b"http://xn--a:PORT/"], Reason.FETCH_BAD_URL),
    "a zone": ([b"http://[fe80::1%25lo]:PORT/"], Reason.FETCH_BAD_URL),
    "a port in other digits": (["http://a:\uff18\uff10/".encode()], Reason.FETCH_BAD_URL),
    "no host": ([b"http:/2.jpg"], Reason.FETCH_BAD_URL),
    "NUL": ([b"/2\x00.jpg"], Reason.FETCH_HTTP_ERROR),
}


@pytest.mark.parametrize(("values", "reason"), NOT_FOLLOWED.values(), ids=NOT_FOLLOWED)
def test_a_redirect_that_names_no_url_fails(values: Sequence[bytes], reason: Reason) -> None:
    """With one reason, and no second request."""
    result, requests = sent_by("http://photos.test:PORT/1.jpg", location(*values), answer(PHOTO))
    assert (result, len(requests)) == (reason, 1)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(TEXTS, st.binary(max_size=30), st.binary(max_size=30))
def test_a_fetch_ends_in_bytes_or_a_reason(text: str, target: bytes, header: bytes) -> None:
    """Whatever URL, redirect and headers: no other exception than BadInputError."""
    odd_headers = answer(PHOTO).replace(b"\r\n\r\n", b"\r\nX: " + header + b"\r\n\r\n", 1)
    for url in (text, f"http://photos.test:PORT/{text}", f"http://photos.test:PORT{text}"):
        result, _ = sent_by(url, location(target), odd_headers)
        assert isinstance(result, bytes | Reason)
