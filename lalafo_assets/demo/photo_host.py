"""A loopback HTTP server for a folder of photos, in the role of a marketplace's image host.

Owns the paths and the faults of a host. Does not depend on ads or on the fetcher. It binds to
127.0.0.1 and never serves anything outside its folder.

    /photos/NAME     the file, on keep-alive connections
    /slow/NAME       the same, a few bytes at a time
    /redirect/NAME   302 to /photos/NAME
    /loop/NAME       302 to itself
    /missing/NAME    404
    /error/NAME      500
"""

import argparse
import asyncio
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from aiohttp import web

from ops.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
DRIP_BYTES = 64
DRIP_PAUSE_S = 0.5
START_TIMEOUT_S = 10.0
CONTENT_TYPES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG": "image/png",
    b"RIFF": "image/webp",
    b"GIF8": "image/gif",
    b"<!DOC": "text/html",
}
FOLDER = web.AppKey("folder", Path)
LINKED: web.AppKey[frozenset[str]] = web.AppKey("linked")
DRIP_S = web.AppKey("drip_s", float)


def photo_app(
    folder: Path, *, linked: Collection[str] = (), drip_pause_s: float = DRIP_PAUSE_S
) -> web.Application:
    """Return the web application that serves one folder.

    Args:
        linked: names that may lead out of the folder through links.

    Raises:
        ConfigurationError: the folder does not exist.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder: give a folder of photos.")
    app = web.Application()
    app[FOLDER] = folder.resolve()
    app[LINKED] = frozenset(linked)
    app[DRIP_S] = drip_pause_s
    app.router.add_get("/photos/{name:.+}", _photo)
    app.router.add_get("/slow/{name:.+}", _slow)
    app.router.add_get("/redirect/{name:.+}", _redirect)
    app.router.add_get("/loop/{name:.+}", _loop)
    app.router.add_get("/missing/{name:.*}", _missing)
    app.router.add_get("/error/{name:.*}", _error)
    return app


def photo_bytes(folder: Path, name: str, linked: frozenset[str] = frozenset()) -> bytes | None:
    """Return the bytes of a file below `folder`, or None if there is no such file.

    A name that leaves the folder (`..`, an absolute path, a link that points outside) is treated
    as missing, so that the answer does not reveal what exists elsewhere; the names in `linked` may
    lead out through links. `folder` must be resolved.
    """
    try:
        path = (folder / name).resolve(strict=True)
        inside = path.is_relative_to(folder) or name in linked
        if not inside or not path.is_file():
            return None
        return path.read_bytes()
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return None


def content_type_of(data: bytes) -> str:
    """Return the type that the first bytes indicate; image/jpeg for unknown ones."""
    for start, content_type in CONTENT_TYPES.items():
        if data.startswith(start):
            return content_type
    return "image/jpeg"


def _requested_photo(request: web.Request) -> bytes:
    # Read in the event loop on purpose: a cached 50 KB file takes less time than a thread switch.
    app = request.app
    data = photo_bytes(app[FOLDER], request.match_info["name"], app[LINKED])
    if data is None:
        raise web.HTTPNotFound(text="no such photo")
    return data


async def _photo(request: web.Request) -> web.Response:
    data = _requested_photo(request)
    return web.Response(body=data, content_type=content_type_of(data))


async def _slow(request: web.Request) -> web.StreamResponse:
    data = _requested_photo(request)
    response = web.StreamResponse()
    response.content_type = content_type_of(data)
    response.content_length = len(data)
    await response.prepare(request)
    for start in range(0, len(data), DRIP_BYTES):
        await response.write(data[start : start + DRIP_BYTES])
        await asyncio.sleep(request.app[DRIP_S])
    return response


async def _redirect(request: web.Request) -> web.Response:
    raise web.HTTPFound("/photos/" + quote(request.match_info["name"]))


async def _loop(request: web.Request) -> web.Response:
    raise web.HTTPFound("/loop/" + quote(request.match_info["name"]))


async def _missing(_request: web.Request) -> web.Response:
    raise web.HTTPNotFound(text="no such photo")


async def _error(_request: web.Request) -> web.Response:
    raise web.HTTPInternalServerError(text="the host is broken")


class PhotoHost:
    """The server in its own thread; a context manager.

    Args:
        folder: the folder to serve.
        linked: names that may lead out of the folder through links.
        port: 0 for any free one; the attribute `port` has the actual one after the start.
        drip_pause_s: seconds between two chunks of `/slow/`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        linked: Collection[str] = (),
        drip_pause_s: float = DRIP_PAUSE_S,
    ) -> None:
        self.port = port
        self._app = photo_app(folder, linked=linked, drip_pause_s=drip_pause_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._problem: OSError | None = None

    def start(self) -> Self:
        """Serve until `stop`.

        Raises:
            ConfigurationError: the port is in use, or the server was started before.
        """
        if self._thread is not None:
            raise ConfigurationError("This photo host was started before; create another one.")
        self._thread = threading.Thread(target=self._run, name="photo-host", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_TIMEOUT_S):
            raise ConfigurationError(f"The photo host did not start within {START_TIMEOUT_S} s.")
        if self._problem is not None:
            raise ConfigurationError(
                f"The photo host can't listen on {LOOPBACK}:{self.port} ({self._problem}); "
                "choose another port, or 0 for a free one."
            ) from self._problem
        return self

    def stop(self) -> None:
        """Close the connections and end the thread; a second call does nothing."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(START_TIMEOUT_S)

    @property
    def address(self) -> str:
        """What every URL of this host begins with."""
        return f"http://{LOOPBACK}:{self.port}/"

    def url(self, name: str, *, path: str = "photos") -> str:
        """Return the URL of a photo; `path` is one of the first path segments listed above."""
        return f"{self.address}{path}/{quote(name)}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with _listening(self._app, self.port) as port:
                self.port = port
                self._ready.set()
                await self._stop.wait()
        except OSError as error:
            self._problem = error
        finally:
            self._ready.set()


class _listening:
    """Runs the application within an async context; `async with` yields the port."""

    def __init__(self, app: web.Application, port: int) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        self._port = port

    async def __aenter__(self) -> int:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, LOOPBACK, self._port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        return int(self._runner.addresses[0][1])

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # CPython 3.11 leaks the socket of a connection that is accepted in the same iteration of
        # the event loop in which its server closes (gh-109564): accept pending connections first.
        await asyncio.sleep(0.02)
        await self._runner.cleanup()


async def _serve_forever(folder: Path, port: int) -> None:
    async with _listening(photo_app(folder), port) as real_port:
        sys.stdout.write(f"http://{LOOPBACK}:{real_port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main(arguments: list[str] | None = None) -> int:
    """Serve a folder until interrupted; the first line on standard output is the URL."""
    parser = argparse.ArgumentParser(prog="photo_host", description="Serve photos on loopback.")
    parser.add_argument("--folder", type=Path, required=True, help="folder to serve")
    parser.add_argument("--port", type=int, default=0, help="port; 0 (default) takes any free one")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_serve_forever(options.folder, options.port))
    except KeyboardInterrupt:
        return 0
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
