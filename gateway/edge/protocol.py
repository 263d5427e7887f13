"""HTTP/1.1 as it comes from a socket, with a bound on what comes before a request is known.

Decides how large a request's head may be and how long it may take. uvicorn's parser keeps a head of
any size, from callers without a key too: 100 MB of one header were kept, and answered. What a body
may hold is `limits.py`'s.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024  # one read may bring up to 256 KB more before it is noticed
HEAD_WITHIN_S = 20.0
LINGER_S = 1.0  # closed at once, what still comes would reset the connection before it is read

_DETAIL = b"the request's head is too large: at most 65536 bytes of address and headers are allowed"
_BODY = (
    b'{"type":"urn:lalafo:problem:head_too_large","title":"Request Header Fields Too Large",'
    b'"status":431,"detail":"' + _DETAIL + b'","instance":"","allowed":65536}'
)
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n" % len(_BODY)
) + _BODY


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which ends connections whose request never begins."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unread = 0  # bytes that came since the parser last had a head or a part of a body
        self._refused = False
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first head is due."""
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn narrows it
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse it; refuse what adds to a head that is too large already."""
        if self._refused:
            return
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_message_begin(self) -> None:
        """Its head is due."""
        self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is here."""
        self._head_came()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body, which others count."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next head begins with nothing."""
        self._unread = 0
        super().on_message_complete()

    def _refuse(self) -> None:
        """Say so, unless another answer is under way, and let go of what still comes."""
        self._refused = True
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(TOO_LARGE)
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _expect_head(self) -> None:
        if self._head_due is None:
            self._head_due = self.loop.call_later(HEAD_WITHIN_S, self.transport.close)

    def _head_came(self) -> None:
        self._unread = 0
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
