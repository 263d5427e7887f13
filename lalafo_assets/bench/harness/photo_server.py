"""The photo host of a bench: complete responses from memory over persistent HTTP/1.1 connections.

It shares the cores with what is measured, so it is made to cost little (a tenth of aiohttp). It
serves GET /<number>.jpg from one folder to the bench's clients on loopback, and nothing else: no
ranges, no redirects, no request bodies.
"""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lalafo_assets.bench.harness.workers import Worker, read_task, send_answer
from ops.errors import ConfigurationError

HOST = "127.0.0.1"
_END = b"\r\n\r\n"
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def start_photo_server(folder: Path, *, log_file: Path) -> "tuple[Worker, str]":
    """Serve a folder's photos in its own process.

    Returns:
        The worker, and the URL before `/<name>`.
    """
    worker = Worker(__name__, {"folder": str(folder)}, log_file=log_file)
    try:
        return worker, f"http://{HOST}:{worker.answer()['port']}"
    except BaseException:
        worker.stop()
        raise


def read_answers(folder: Path) -> dict[bytes, bytes]:
    """The complete response for each photo, by its path.

    Raises:
        ConfigurationError: the folder contains no photo.
    """
    answers = {}
    for path in folder.glob("*.jpg"):
        body = path.read_bytes()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        answers[f"/{path.name}".encode()] = head.encode() + body
    if not answers:
        raise ConfigurationError(f"{folder} contains no .jpg photo to serve")
    return answers


class PhotoProtocol(asyncio.Protocol):
    """One connection: answers GET requests in order, pipelined or not, from memory."""

    def __init__(self, answers: Mapping[bytes, bytes]) -> None:
        self._answers = answers
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._rest + data if self._rest else data
        *requests, self._rest = received.split(_END)
        for request in requests:
            method, _, rest = request.partition(b" ")
            path = rest.partition(b" ")[0]
            answer = self._answers.get(path) if method == b"GET" else None
            self._transport.write(_MISSING if answer is None else answer)


async def _serve(answers: Mapping[bytes, bytes]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: PhotoProtocol(answers), HOST, 0)
    ended = asyncio.Event()

    class Watch(asyncio.Protocol):
        def connection_lost(self, error: Exception | None) -> None:
            ended.set()

    await loop.connect_read_pipe(Watch, sys.stdin)
    send_answer({"port": server.sockets[0].getsockname()[1]})
    await ended.wait()


def main() -> None:
    """Serve until the bench ends, with uvloop if it is installed (Dagster's webserver needs it)."""
    answers = read_answers(Path(read_task()["folder"]))
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(answers))
    else:
        uvloop.run(_serve(answers))


if __name__ == "__main__":
    main()
