"""Fetches photos by URL: their bytes within the limits, or the reason of the failure.

Owns time limits, redirects and retries. Does not depend on image decoding and storage. URLs are
checked by `resources.photos.urls`, addresses by `resources.photos.addresses`.

    `timeout_s` covers everything: DNS lookup, all redirects, all attempts, up to the last byte
    redirects are followed here, and each is checked like the first URL
    retried, with jittered back-off, only where that can help: lost connections, 5xx, 408, 425,
    429; `Retry-After` is added to the wait, and one beyond the time left ends the attempts
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver

from ops.errors import BadInputError, Reason
from ops.photos.formats import SNIFFED_BYTES, sniff
from resources.photos.addresses import AddressGuard
from resources.photos.fetch_errors import TemporaryFetchError, failure_of, status_failure
from resources.photos.urls import PhotoUrl, checked_url, host_of, redirect_url
from resources.settings import Settings

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BACKOFF_S = 0.1
_DNS_CACHE_S = 30
_MAX_HEADER_BYTES = 65_536  # of one header; aiohttp's 8,190 are too few for some content policies
# Stores return others, such as aws-chunked or utf-8, that say nothing about the bytes.
_COMPRESSIONS = frozenset({"gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd"})
_TEXT_CONTROLS = b"\t\n\f\r\x1b"
_BINARY = bytes(code for code in range(32) if code not in _TEXT_CONTROLS)
_HEADERS = {
    "User-Agent": "lalafo-vision",
    "Accept": "image/avif,image/webp,image/png,image/jpeg,image/gif,*/*;q=0.5",
    "Accept-Encoding": "identity",  # photos are compressed already; a compressed body may be a bomb
}


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """The limits of one fetch."""

    timeout_s: float  # for one photo, with all redirects and attempts
    max_bytes: int  # of one photo
    max_redirects: int
    attempts: int
    connections: int  # fetches at once; further ones wait, outside their time limit
    allow_private: bool = False  # also private, loopback and link-local addresses


class PhotoFetcher:
    """Fetches photos over pooled connections; an async context manager, bound to one event loop.

    Args:
        resolver: resolves host names; by default the system's resolver, in threads.
        guard: checks addresses, unless the limits allow private ones.
        sleep: waits between attempts.
        jitter: uniform in [0, 1); scales each wait.
    """

    def __init__(
        self,
        limits: FetchLimits,
        *,
        resolver: AbstractResolver | None = None,
        guard: AddressGuard | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits
        self._resolver = resolver
        self._guard = AddressGuard() if guard is None else guard
        self._sleep = sleep
        self._jitter = jitter
        self._slots = asyncio.Semaphore(limits.connections)
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """A fetcher with the limits of LALAFO_FETCH_… and LALAFO_MAX_PHOTO_BYTES."""
        return cls(
            FetchLimits(
                timeout_s=settings.fetch_timeout_s,
                max_bytes=settings.max_photo_bytes,
                max_redirects=settings.fetch_max_redirects,
                attempts=settings.fetch_attempts,
                connections=settings.fetch_connections,
                allow_private=settings.fetch_allow_private,
            )
        )

    async def __aenter__(self) -> Self:
        resolver = aiohttp.ThreadedResolver() if self._resolver is None else self._resolver
        guarded = not self._limits.allow_private
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # `_slots` is the limit; a wait for the pool would use up the fetch's time
                ttl_dns_cache=_DNS_CACHE_S,
                resolver=self._guard.resolver(resolver) if guarded else resolver,
                socket_factory=self._guard.open_socket if guarded else None,
            ),
            # After a lost SYN there must be time for another attempt.
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._limits.timeout_s / self._limits.attempts
            ),
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_field_size=_MAX_HEADER_BYTES,
            trust_env=False,  # a proxy from the environment would connect without the guard
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(self, url: str) -> bytes:
        """The photo's bytes; empty if the server answers with an empty body.

        They may not be a photo: only text (HTML, JSON, …) is recognised and refused.

        Raises:
            BadInputError: FETCH_*. Its text names hosts, never paths, queries or addresses.
        """
        first = checked_url(url)
        async with self._slots:
            try:
                async with asyncio.timeout(self._limits.timeout_s) as limit:
                    return await self._with_retries(first, limit.when() or 0.0)
            except TimeoutError as error:
                raise BadInputError(
                    Reason.FETCH_TIMEOUT,
                    f"{host_of(first)} took longer than {self._limits.timeout_s:g} s",
                ) from error

    async def _with_retries(self, url: PhotoUrl, deadline: float) -> bytes:
        """Retry until an attempt succeeds, fails permanently, or can't be ready by `deadline`."""
        now = asyncio.get_running_loop().time
        attempt = 1
        while True:
            try:
                return await self._follow(url)
            except TemporaryFetchError as error:
                wait_s = _BACKOFF_S * 2**attempt * self._jitter()
                if error.retry_after_s is not None:
                    wait_s += error.retry_after_s
                if attempt >= self._limits.attempts or now() + wait_s >= deadline:
                    raise error.failure from error
            await self._sleep(wait_s)
            attempt += 1

    async def _follow(self, url: PhotoUrl) -> bytes:
        """One attempt, with its redirects."""
        for _ in range(self._limits.max_redirects + 1):
            result = await self._request(url)
            if isinstance(result, bytes):
                return result
            url = result
        raise BadInputError(
            Reason.FETCH_TOO_MANY_REDIRECTS,
            f"more than {self._limits.max_redirects} redirects, the last to {host_of(url)}",
        )

    async def _request(self, url: PhotoUrl) -> bytes | PhotoUrl:
        """The body, or the target of a redirect."""
        assert self._session is not None, "use the fetcher as `async with PhotoFetcher(…)`"
        try:
            async with self._session.get(url.request, allow_redirects=False) as response:
                if response.status in _REDIRECTS and (location := _location(response)) != b"":
                    return redirect_url(location, url)
                if response.status not in (200, 203):
                    raise status_failure(
                        response.status,
                        host_of(url),
                        _retry_after_s(response.headers.get("Retry-After")),
                    )
                return await self._read(response, host_of(url))
        except (aiohttp.ClientError, ValueError, OSError) as error:
            # Includes aiohttp's TimeoutError, an OSError; the fetch's own limit arrives as a
            # cancellation.
            raise failure_of(error, host_of(url)) from error

    async def _read(self, response: aiohttp.ClientResponse, host: str) -> bytes:
        codings = ",".join(response.headers.getall("Content-Encoding", ())).lower().split(",")
        if not _COMPRESSIONS.isdisjoint(coding.strip() for coding in codings):
            raise BadInputError(
                Reason.FETCH_NOT_A_PHOTO, f"{host} sent a compressed body, expected plain bytes"
            )
        self._check_length(response.content_length or 0, host)
        body = bytearray()
        async for chunk in response.content.iter_any():
            before = len(body)
            body += chunk
            # Before the length: one read may bring the first bytes and the one too many.
            if before < SNIFFED_BYTES <= len(body):
                _check_content(body, host)
            self._check_length(len(body), host)
        if len(body) < SNIFFED_BYTES:
            _check_content(body, host)
        return bytes(body)

    def _check_length(self, n_bytes: int, host: str) -> None:
        if n_bytes > self._limits.max_bytes:
            raise BadInputError(
                Reason.FETCH_TOO_LARGE,
                f"{host} sends more than the {self._limits.max_bytes} bytes that are allowed",
            )


def _location(response: aiohttp.ClientResponse) -> bytes:
    """The bytes of the Location header; empty if there is none. Decoded, some would be lost."""
    found = {value for name, value in response.raw_headers if name.lower() == b"location"}
    if len(found) > 1:
        host = response.url.raw_host
        raise BadInputError(Reason.FETCH_BAD_URL, f"{host} redirects to {len(found)} URLs at once")
    return found.pop() if found else b""


def _check_content(body: bytearray, host: str) -> None:
    """Refuse text, whatever its content type; an empty body is left to the photo decoder."""
    head = bytes(body[:SNIFFED_BYTES])
    if head != b"" and sniff(head) is None and len(head.translate(None, _BINARY)) == len(head):
        raise BadInputError(Reason.FETCH_NOT_A_PHOTO, f"{host} sent text instead of a photo")


def _retry_after_s(header: str | None) -> float | None:
    """Seconds from now, from either form of RFC 9110, 10.2.3; None if the header is invalid."""
    if header is None:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):  # the latter for a day or a time zone of many digits
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
