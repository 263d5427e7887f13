"""A photo host that keeps requests waiting until a test lets them through."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from aiohttp import web


class GatedHost:
    """Serves one photo at every path; requests wait until they are let through, in order."""

    def __init__(self, photo: bytes) -> None:
        self.photo = photo
        self.port = 0
        self.requests = 0
        self._waiting: list[asyncio.Event] = []
        self._open = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def let_through(self, count: int) -> None:
        """Answer the oldest `count` waiting requests."""
        self._loop.call_soon_threadsafe(self._release, count)

    def open(self) -> None:
        """Answer all waiting requests, and every later one at once."""

        def act() -> None:
            self._open = True
            self._release(len(self._waiting))

        self._loop.call_soon_threadsafe(act)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open()
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def _release(self, count: int) -> None:
        for waiting in self._waiting[:count]:
            waiting.set()
        del self._waiting[:count]

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/{name}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._ended.wait()
        await asyncio.sleep(0.02)  # CPython 3.11 leaks a connection accepted in this very turn
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        if not self._open:
            waiting = asyncio.Event()
            self._waiting.append(waiting)
            await waiting.wait()
        return web.Response(body=self.photo, content_type="image/jpeg")
