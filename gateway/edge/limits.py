"""Limits of a caller: requests per second, concurrent requests, and bytes per body.

The middleware here asks `auth.py` for the caller of every path that needs an API key.

A request over a limit is refused before its body is read and before a route runs. Requests are
counted per process: with N processes behind one address a key gets up to N times its rate. That
keeps the check within microseconds, and the limits exist to protect each process.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.edge.auth import Caller, KeyRing
from gateway.problems import Problem, problem_response
from resources.settings import Settings

BURST_S = 2.0
# Every other path needs no key: the page and its files, the probes.
GUARDED = ("/v1/", "/classify", "/v4/")
OPEN = frozenset({"/v1/openapi.json"})
# Paths that accept photos; everywhere else a body is JSON.
UPLOADS = ("/v1/photos", "/v1/search/photo", "/v4/classify/add_images", "/classify")
# A server takes the first of several, a proxy the last.
_ONCE = ("Authorization", "X-API-Key", "Idempotency-Key", "Content-Type")


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class Limits:
    """Counts each key's requests in this process. Holds one entry per valid key.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._at_once: defaultdict[str, int] = defaultdict(int)

    def begin(self, caller: Caller) -> None:
        """Count a request that begins; call `end` when it has ended.

        Raises:
            Problem: 429 with Retry-After; the request was not counted, so don't call `end`.
        """
        maximum = self.settings.requests_at_once
        if self._at_once[caller.key_id] >= maximum:
            raise Problem(
                429,
                "too_many_at_once",
                f"{maximum} requests of this key are in progress, which is the limit: wait for one "
                "to end",
                headers={"Retry-After": "1"},
                allowed=maximum,
            )
        self._take(caller)
        self._at_once[caller.key_id] += 1

    def end(self, caller: Caller) -> None:
        """Count a request as ended."""
        remaining = self._at_once[caller.key_id] - 1
        if remaining > 0:
            self._at_once[caller.key_id] = remaining
        else:
            del self._at_once[caller.key_id]

    def _take(self, caller: Caller) -> None:
        rate = caller.requests_per_s
        if rate <= 0:
            return
        now, capacity = self._clock(), max(1.0, rate * BURST_S)
        bucket = self._buckets.setdefault(caller.key_id, _Bucket(capacity, now))
        bucket.tokens = min(capacity, bucket.tokens + (now - bucket.filled_at) * rate)
        bucket.filled_at = now
        if bucket.tokens < 1:
            wait_s = math.ceil((1 - bucket.tokens) / rate)
            raise Problem(
                429,
                "too_many_requests",
                f"this key may send {rate:g} requests per second, and {capacity:g} in a burst",
                headers={"Retry-After": str(wait_s)},
                allowed=rate,
            )
        bucket.tokens -= 1


class Gate:
    """Middleware that authenticates the caller and applies the limits before the body is read."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._off = settings.gateway_auth == "off"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self.max_bytes(scope))
        caller: Caller | None = None
        limits: Limits | None = None
        try:
            check_repetition(Headers(scope=scope))
            caller = await self._caller(scope)
            if caller is not None:
                scope.setdefault("state", {})["caller"] = caller
                if not self._off:
                    scope["app"].state.services.limits.begin(caller)
                    limits = scope["app"].state.services.limits
            check_content_encoding(Headers(scope=scope))
            body.check_length(Headers(scope=scope).get("content-length"))
            await body.pass_to(self._app, scope, send)
        except Problem as problem:
            await problem_response(Request(scope), problem)(scope, receive, send)
        finally:
            if limits is not None and caller is not None:
                limits.end(caller)

    def max_bytes(self, scope: Scope) -> int:
        """The size limit of a request's body, in bytes."""
        path: str = scope["path"]
        if path.startswith(UPLOADS):
            return self._settings.max_upload_bytes
        content_type = Headers(scope=scope).get("content-type", "")
        if path == "/v1/ads" and content_type.lower().startswith("multipart/"):
            return self._settings.max_upload_bytes
        return self._settings.max_json_bytes

    async def _caller(self, scope: Scope) -> Caller | None:
        path: str = scope["path"]
        if not path.startswith(GUARDED) or path in OPEN:
            return None
        keys: KeyRing = scope["app"].state.services.keys
        return await keys.caller(Headers(scope=scope))


def check_repetition(headers: Headers) -> None:
    """Raise a Problem (400) for a header that says twice what only one can be true of."""
    for name in _ONCE:
        if len(set(headers.getlist(name))) > 1:
            raise Problem(
                400, "repeated_header", f"the header {name} was sent more than once, expected once"
            )


def check_content_encoding(headers: Headers) -> None:
    """Raise a Problem (415) for a compressed body: it is not decoded, as its size is unknown."""
    codings = [
        coding
        for value in headers.getlist("content-encoding")
        for coding in (part.strip().lower() for part in value.split(","))
        if coding not in ("", "identity")
    ]
    if codings:
        raise Problem(
            415,
            "wrong_encoding",
            f"Content-Encoding {codings[0][:40]!r} is not supported: send the body uncompressed",
            headers={"Accept-Encoding": "identity"},  # RFC 9110, 12.5.3
        )


class _Body:
    """A request's body, counted while it is received."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._max = max_bytes
        self._received = 0
        self._exceeded = False

    def check_length(self, content_length: str | None) -> None:
        """Raise a Problem (413) if the Content-Length header exceeds the limit."""
        if content_length is None:
            return
        if not (content_length.isascii() and content_length.isdecimal()):
            raise Problem(400, "bad_length", "Content-Length is not a number of bytes")
        if int(content_length[:20]) > self._max:
            raise self._too_large(f"Content-Length is {content_length[:20]} bytes")

    async def pass_to(self, app: ASGIApp, scope: Scope, send: Send) -> None:
        """Run the application; if the body exceeds the limit, answer 413 in its place.

        The application's own response is dropped, whatever it is: a framework turns an exception
        from `receive` into an error response of its own.
        """
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if self._exceeded and not started:
                return
            started = True
            await send(message)

        try:
            await app(scope, self.receive, guarded_send)
        except Exception:
            if not self._exceeded or started:
                raise
        if self._exceeded and not started:
            raise self._too_large(f"more than {self._max} bytes were received")

    async def receive(self) -> Message:
        """The next part of the body; the application calls it as ASGI's `receive`."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._max:
                self._exceeded = True
                raise self._too_large(f"more than {self._max} bytes were received")
        return message

    def _too_large(self, received: str) -> Problem:
        return Problem(
            413,
            "too_large",
            f"{received}; at most {self._max} are allowed for this path",
            allowed=self._max,
        )


def install(app: FastAPI, settings: Settings) -> None:
    """Add the middleware that authenticates callers and applies the limits."""
    app.add_middleware(Gate, settings=settings)
