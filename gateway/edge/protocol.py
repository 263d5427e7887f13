"""uvicorn's HTTP/1.1 protocol with limits on the request head: its size, and the time it may take.

uvicorn's parser buffers a head of any size, also from callers without a key: it accepted a header
of 100 MB. `limits.py` limits the body. When the server stops, requests that wait for a result are
answered at once: uvicorn would cancel them after its time limit.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

STOP_WAITING = "stop_waiting"  # in the lifespan's state: what to call when the server stops
MAX_HEAD_BYTES = 64 * 1024  # one read may add up to 256 KB before the check
HEAD_WITHIN_S = 20.0
# Closed at once, bytes that still arrive would reset the connection before the caller reads 431.
LINGER_S = 1.0

_DETAIL = b"the request's head is too large: at most 65536 bytes of URL and headers are allowed"
_BODY = (
    b'{"type":"urn:lalafo:problem:head_too_large","title":"Request Header Fields Too Large",'
    b'"status":431,"detail":"' + _DETAIL + b'","instance":"","allowed":65536}'
)
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n" % len(_BODY)
) + _BODY
_NOT_HTTP = (
    b'{"type":"urn:lalafo:problem:not_http","title":"Bad Request","status":400,'
    b'"detail":"the request is not valid HTTP/1.1","instance":""}'
)
NOT_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n" % len(_NOT_HTTP)
) + _NOT_HTTP


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, closing connections whose request head is too large or too slow."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = 0  # bytes received since the parser last completed a head or a body part
        self._refused = False
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer for the first head."""
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn narrows it
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._head_complete()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; refuse the request if its head is now too large."""
        if self._refused:
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_message_begin(self) -> None:
        """Start the timer for the head of a further request."""
        self._start_head_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the timer: the head is complete."""
        self._head_complete()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Reset the count: `limits.py` counts the body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Reset the count for the next head."""
        self._unparsed = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP/1.1 as every other error; uvicorn's answer is text."""
        self.transport.write(NOT_HTTP)
        self.transport.close()

    def shutdown(self) -> None:
        """Close the connection, or let the request in progress end; uvicorn calls it to stop."""
        stop_waiting = self.app_state.get(STOP_WAITING)
        if stop_waiting is not None:
            stop_waiting()
        super().shutdown()

    def _refuse(self) -> None:
        """Answer 431, unless another response is being sent; ignore further data and close."""
        self._refused = True
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(TOO_LARGE)
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self.transport.close)

    def _head_complete(self) -> None:
        self._unparsed = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
