"""Protection of browsers: the content security policy, CORS, and the Host and Origin checks.

The page loads nothing from other sites. Pages of other origins may call the API only if
`cors_origins` names them. Without API keys a request must address this machine: a site whose name
resolves to this machine (DNS rebinding), or that posts a form here, is refused.
"""

from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.problems import Problem, problem_response
from resources.settings import Settings

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; connect-src 'self'; style-src 'self'; "
    "script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", CONTENT_POLICY.encode()),
)
CORS_METHODS = ("GET", "POST", "PUT", "DELETE")
CORS_HEADERS = ("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "X-Request-Id")
CORS_EXPOSED_HEADERS = ("Retry-After", "X-Request-Id", "Idempotency-Replayed", "Location")


def origins(settings: Settings) -> list[str]:
    """The origins in `cors_origins`, whose pages may call the API."""
    return [one.strip() for one in settings.cors_origins.split(",") if one.strip() != ""]


class LocalRequestsOnly:
    """Middleware for a gateway without keys: the Host header must name this machine."""

    def __init__(self, app: ASGIApp, allowed_origins: list[str]) -> None:
        self._app = app
        self._origins = frozenset(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] == "http":
            try:
                self.check(Headers(scope=scope))
            except Problem as problem:
                await problem_response(Request(scope), problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def check(self, headers: Headers) -> None:
        """Raise a Problem (421 or 403) if another site's page may have sent the request."""
        host = headers.get("host", "")
        if _hostname(f"//{host}") not in LOCAL_NAMES:
            raise Problem(
                421,
                "wrong_host",
                "with LALAFO_GATEWAY_AUTH=off this gateway accepts only the hosts localhost, "
                "127.0.0.1 and ::1; the Host header names another one",
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and _netloc(origin) != host:
            raise Problem(
                403,
                "other_origin",
                "the request comes from a page of another origin; LALAFO_CORS_ORIGINS lists the "
                "allowed ones",
            )


def _netloc(url: str) -> str | None:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def install(app: FastAPI, settings: Settings) -> None:
    """Add the middleware that refuses pages of other origins, unless the settings name them."""
    allowed_origins = origins(settings)
    if settings.gateway_auth == "off":
        app.add_middleware(LocalRequestsOnly, allowed_origins=allowed_origins)
    if allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=allowed_origins,
            allow_methods=CORS_METHODS,
            allow_headers=CORS_HEADERS,
            expose_headers=CORS_EXPOSED_HEADERS,
            max_age=600,
        )
