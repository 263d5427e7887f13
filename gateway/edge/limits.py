"""How much a caller may send: requests a second, requests at once, bytes a body.

Decides who is refused before a route, or the body, is read. What a key has used of its share is
counted in this process alone: with N processes behind one address a key gets up to N times its
rate. That keeps the answer within microseconds, and a limit is there to protect a process.
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
from gateway.problems import Problem, answer
from resources.settings import Settings

BURST_S = 2.0
# Whoever asks for these needs no key: the page and its parts, probes, the API's description.
GUARDED = ("/v1/", "/classify", "/v4/")
OPEN = frozenset({"/v1/openapi.json"})
# Where bytes of photos are sent; everywhere else a body is JSON.
UPLOADS = ("/v1/photos", "/v4/classify/add_images", "/classify")


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class Limits:
    """What each key has used of its share, in this process. Holds an entry a key that was right.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._at_once: defaultdict[str, int] = defaultdict(int)

    def begin(self, caller: Caller) -> None:
        """Take one request of the caller's share; `end` gives its place back.

        Raises:
            Problem: 429 with Retry-After; then there is nothing to end.
        """
        most = self.settings.requests_at_once
        if self._at_once[caller.key_id] >= most:
            raise Problem(
                429,
                "too_many_at_once",
                f"{most} requests of this key are at work, as many as may be: wait for one to end",
                headers={"Retry-After": "1"},
                allowed=most,
            )
        self._take(caller)
        self._at_once[caller.key_id] += 1

    def end(self, caller: Caller) -> None:
        """A request that was begun has ended."""
        left = self._at_once[caller.key_id] - 1
        if left > 0:
            self._at_once[caller.key_id] = left
        else:
            del self._at_once[caller.key_id]

    def _take(self, caller: Caller) -> None:
        rate = caller.requests_per_s
        if rate <= 0:
            return
        now, most = self._clock(), max(1.0, rate * BURST_S)
        bucket = self._buckets.setdefault(caller.key_id, _Bucket(most, now))
        bucket.tokens = min(most, bucket.tokens + (now - bucket.filled_at) * rate)
        bucket.filled_at = now
        if bucket.tokens < 1:
            wait_s = math.ceil((1 - bucket.tokens) / rate)
            raise Problem(
                429,
                "too_many_requests",
                f"this key may send {rate:g} requests a second, and {most:g} in a burst",
                headers={"Retry-After": str(wait_s)},
                allowed=rate,
            )
        bucket.tokens -= 1


class Gate:
    """Middleware: knows the caller and judges the request before its body is read."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._off = settings.gateway_auth == "off"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self.most_bytes(scope))
        caller: Caller | None = None
        limits: Limits | None = None
        try:
            caller = await self._caller(scope)
            if caller is not None:
                scope.setdefault("state", {})["caller"] = caller
                if not self._off:
                    scope["app"].state.services.limits.begin(caller)
                    limits = scope["app"].state.services.limits
            body.check_length(Headers(scope=scope).get("content-length"))
            await body.pass_to(self._app, scope, send)
        except Problem as problem:
            await answer(Request(scope), problem)(scope, receive, send)
        finally:
            if limits is not None and caller is not None:
                limits.end(caller)

    def most_bytes(self, scope: Scope) -> int:
        """How large a request's body may be."""
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


class _Body:
    """A request's body on its way in, counted."""

    def __init__(self, receive: Receive, most_bytes: int) -> None:
        self._receive = receive
        self._most = most_bytes
        self._came = 0
        self._over = False

    def check_length(self, content_length: str | None) -> None:
        """Refuse at once what is told to be too large; 413."""
        if content_length is None:
            return
        if not (content_length.isascii() and content_length.isdecimal()):
            raise Problem(400, "bad_length", "Content-Length is no number of bytes")
        if int(content_length[:20]) > self._most:
            raise self._too_large(f"{content_length[:20]} bytes are announced")

    async def pass_to(self, app: ASGIApp, scope: Scope, send: Send) -> None:
        """Run the application; once too much came, its own answer gives way to the 413.

        Whatever it makes of the cut body: frameworks turn what a body's reader raises into theirs.
        """
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if self._over and not started:
                return
            started = True
            await send(message)

        try:
            await app(scope, self.receive, guarded_send)
        except Exception:
            if not self._over or started:
                raise
        if self._over and not started:
            raise self._too_large(f"more than {self._most} bytes came")

    async def receive(self) -> Message:
        """The next part of the body; the application's end of it."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._came += len(message.get("body", b""))
            if self._came > self._most:
                self._over = True
                raise self._too_large(f"more than {self._most} bytes came")
        return message

    def _too_large(self, came: str) -> Problem:
        return Problem(
            413,
            "too_large",
            f"{came}; at most {self._most} are allowed here",
            allowed=self._most,
        )


def install(app: FastAPI, settings: Settings) -> None:
    """Let the app judge a request before a route reads it."""
    app.add_middleware(Gate, settings=settings)
