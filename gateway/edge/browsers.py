"""What a browser may do: which pages may call, how answers may be shown, whom we answer to.

Decides that nothing of another site runs in our page, that no other page may call but those that
`cors_origins` names, and that without keys a request has to be meant for this machine: a page of
somebody else's whose name is made to point here (DNS rebinding), or that sends a form here, is
refused.
"""

from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.problems import Problem, answer
from resources.settings import Settings

OUR_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
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
CORS_METHODS = ("GET", "POST", "DELETE")
CORS_HEADERS = ("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "X-Request-Id")
CORS_EXPOSED_HEADERS = ("Retry-After", "X-Request-Id", "Idempotency-Replayed", "Location")


def origins(settings: Settings) -> list[str]:
    """The pages that may call, as `cors_origins` names them."""
    return [one.strip() for one in settings.cors_origins.split(",") if one.strip() != ""]


class OnlyForUs:
    """Middleware for a gateway without keys: the request must name this machine."""

    def __init__(self, app: ASGIApp, allowed_origins: list[str]) -> None:
        self._app = app
        self._origins = frozenset(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it with a problem."""
        if scope["type"] == "http":
            try:
                self.check(Headers(scope=scope))
            except Problem as problem:
                await answer(Request(scope), problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def check(self, headers: Headers) -> None:
        """Refuse what another site's page may have sent: 421, or 403."""
        host = headers.get("host", "")
        if _hostname(f"//{host}") not in OUR_NAMES:
            raise Problem(
                421,
                "wrong_host",
                "without keys this gateway answers to localhost and 127.0.0.1 alone; the request "
                "was for another name",
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and urlsplit(origin).netloc != host:
            raise Problem(
                403,
                "other_origin",
                "a page of another site sent this; LALAFO_CORS_ORIGINS names those that may",
            )


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def install(app: FastAPI, settings: Settings) -> None:
    """Shut the app to other sites' pages, but for those that the settings name."""
    allowed_origins = origins(settings)
    if settings.gateway_auth == "off":
        app.add_middleware(OnlyForUs, allowed_origins=allowed_origins)
    if allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=allowed_origins,
            allow_methods=CORS_METHODS,
            allow_headers=CORS_HEADERS,
            expose_headers=CORS_EXPOSED_HEADERS,
            max_age=600,
        )
