"""A span for each request, and its traceparent for the records that the request writes.

Installed only where `LALAFO_TRACING` is on. Routes read `traceparent`, which is None otherwise.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resources.settings import Settings
from resources.tracing.open import open_tracing

if TYPE_CHECKING:
    from resources.tracing.spans import Spans

SERVICE = "lalafo-gateway"
_UNTRACED = {"/healthz", "/readyz", "/metrics"}

traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""Of the current request's span; None: tracing is off, or the span is not recorded."""


def install(app: FastAPI, settings: Settings) -> Callable[[], None]:
    """Add the middleware if tracing is on.

    Returns:
        What to call when the application ends.

    Raises:
        ConfigurationError: tracing is on, and OpenTelemetry is missing.
    """
    spans = open_tracing(settings, service=SERVICE)
    if spans is None:
        return lambda: None

    app.add_middleware(TracingMiddleware, spans=spans)
    return spans.close


class TracingMiddleware:
    """Starts and ends the span of each request."""

    def __init__(self, app: ASGIApp, spans: "Spans") -> None:
        self._app = app
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        status = 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        given = Headers(scope=scope).get("traceparent", "")
        with self._spans.request(scope["method"], given) as span:
            token = traceparent.set(span.traceparent or None)
            try:
                await self._app(scope, receive, send_and_note)
            finally:
                traceparent.reset(token)
                span.answered(status, getattr(scope.get("route"), "path", ""))
