"""The outermost layer of every answer: its id, its headers, and what becomes of a bug.

Decides that each request has an id, in the answer and in every line of the log about it, and that
an error nobody expected is logged once, with its traceback, and answered without it.
"""

import logging
import re
import secrets
from contextvars import ContextVar

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.edge.browsers import HEADERS
from gateway.problems import answer, broken

REQUEST_ID = b"x-request-id"
_SANE_ID = re.compile(r"[0-9A-Za-z._:/+=-]{1,100}")

log = logging.getLogger(__name__)
request_id: ContextVar[str] = ContextVar("request_id", default="-")


class Edge:
    """Middleware: the first that a request meets, and the last."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens below."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = _given_id(scope)
        token = request_id.set(given)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = message.setdefault("headers", [])
                there = {name for name, _ in headers}
                headers.append((REQUEST_ID, given.encode()))
                headers.extend(one for one in HEADERS if one[0] not in there)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            log.info("%s %s: the client went away", scope["method"], _shown(scope["path"]))
        except Exception:  # the process's edge: logged, counted, answered
            log.exception("%s %s broke", scope["method"], _shown(scope["path"]))
            if not started:  # else the server cuts the connection, which tells the caller
                await answer(Request(scope), broken())(scope, receive, send_with_headers)
        finally:
            request_id.reset(token)


class WithRequestId(logging.Filter):
    """Gives each record of the log the id of the request that it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always let it pass."""
        record.request_id = request_id.get()
        return True


def _given_id(scope: Scope) -> str:
    """The caller's own id, if it is one that a log can hold; else a new one."""
    given = Headers(scope=scope).get(REQUEST_ID.decode(), "")
    return given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)


def _shown(path: str) -> str:
    return repr(path[:200])
