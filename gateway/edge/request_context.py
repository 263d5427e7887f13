"""The outermost middleware: request ids, security headers, and unexpected exceptions.

Each request has an id, which is in the response and in every log line about the request. An
unexpected exception is logged once, with its traceback, and answered with a 500 without it. A
request that the server cancels because it stops is answered with a 503.
"""

import asyncio
import logging
import re
import secrets
from contextvars import ContextVar

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.edge.browsers import HEADERS
from gateway.problems import broken, problem_response, stopping

REQUEST_ID = b"x-request-id"
_VALID_ID = re.compile(r"[0-9A-Za-z._:/+=-]{1,100}")

log = logging.getLogger(__name__)
request_id: ContextVar[str] = ContextVar("request_id", default="-")


class RequestContextMiddleware:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; answer 500 if the application raises an exception."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        current_id = _request_id(scope)
        token = request_id.set(current_id)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = message.setdefault("headers", [])
                present = {name for name, _ in headers}
                headers.append((REQUEST_ID, current_id.encode()))
                headers.extend(one for one in HEADERS if one[0] not in present)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            log.info("%s %s: client disconnected", scope["method"], _shortened(scope["path"]))
        except asyncio.CancelledError:
            if started:
                raise
            log.warning("%s %s: cancelled", scope["method"], _shortened(scope["path"]))
            response = problem_response(Request(scope), stopping())
            await response(scope, receive, send_with_headers)
        except Exception:  # the last handler: log the exception and answer 500
            log.exception("%s %s: unexpected exception", scope["method"], _shortened(scope["path"]))
            if not started:  # otherwise the server closes the connection
                response = problem_response(Request(scope), broken())
                await response(scope, receive, send_with_headers)
        finally:
            request_id.reset(token)


class RequestIdFilter(logging.Filter):
    """Adds the current request's id to each log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id; every record passes."""
        record.request_id = request_id.get()
        return True


def _request_id(scope: Scope) -> str:
    """The caller's X-Request-Id if it is valid, otherwise a new random id."""
    header = Headers(scope=scope).get(REQUEST_ID.decode(), "")
    return header if _VALID_ID.fullmatch(header) else secrets.token_hex(8)


def _shortened(path: str) -> str:
    return repr(path[:200])
