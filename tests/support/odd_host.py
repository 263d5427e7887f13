"""A loopback HTTP server that sends raw bytes, also invalid ones, and counts its requests."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = bytes | Play


def answer(
    body: bytes = b"", *, status: str = "200 OK", headers: str = "", length: int | None = None
) -> bytes:
    """A complete response on a kept connection; `length` sets a false Content-Length."""
    n_bytes = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Length: {n_bytes}\r\n{headers}\r\n"
    return head.encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    """A redirect response."""
    return answer(status=status, headers=f"Location: {location}\r\n")


class OddHost:
    """Serves `answers` by path; of a list one per request, and its last entry from then on.

    Attributes:
        connections: the number of accepted connections.
        requests: the head of each request, in order.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.connections = 0
        self.requests: list[str] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def url(self, path: str, host: str | None = None) -> str:
        return f"http://{self.address if host is None else host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(head)
                await self._answer(head.split(" ")[1], reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        found = self.answers.get(path.partition("?")[0], answer(status="404 Not Found"))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(found, bytes):
            writer.write(found)
            await writer.drain()
        else:
            await found(reader, writer)
