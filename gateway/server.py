"""Run the application with uvicorn: the listening socket, worker processes, logging and shutdown.

Owns the server's configuration. API keys may be off only on loopback. Does not depend on the
routes.
"""

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gateway.edge.exposure import check_exposure
from ops.errors import ConfigurationError
from resources.postgres.conninfo import DIRECT_URL_SETTING, Conninfo
from resources.settings import Settings

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

KEEP_ALIVE_S = 30  # longer than a usual pause between calls, so that few find a closed connection
BACKLOG = 2048
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"


def serve(settings: Settings, *, on_progress: Callable[[str], object] = lambda _: None) -> None:
    """Serve until SIGINT or SIGTERM; call it in the main thread.

    Args:
        on_progress: called with the URL once the socket is bound, before the application starts.

    Raises:
        ConfigurationError: a setting is missing or wrong, or the address is in use.
    """
    check_exposure(settings)
    Conninfo.parse(settings.require("database_url"))
    if settings.database_direct_url != "":
        Conninfo.parse(settings.database_direct_url, DIRECT_URL_SETTING)
    listener = bind(settings.gateway_host, settings.gateway_port)
    on_progress(address(listener))
    config = server_config(
        partial(_application, settings),
        workers=settings.gateway_workers,
        stop_within_s=settings.gateway_stop_s,
    )
    try:
        if settings.gateway_workers == 1:
            _serve_here(config, listener)
        else:
            _serve_by_workers(config, listener)
    finally:
        listener.close()


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket to an address; port 0 takes a free port.

    Raises:
        ConfigurationError: the address is in use, or is not an address of this machine.
    """
    try:
        family, kind, protocol, _, socket_address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"LALAFO_GATEWAY_HOST={host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(socket_address)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"the gateway can't listen on {host}:{port}: {error.strerror}. Set another address "
            "with LALAFO_GATEWAY_HOST and LALAFO_GATEWAY_PORT; port 0 takes any free port."
        ) from error
    listener.set_inheritable(True)
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a bound socket: http://host:port."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_config(
    application: "Callable[[], FastAPI]", *, workers: int = 1, stop_within_s: float = 10.0
) -> "uvicorn.Config":
    """uvicorn's configuration, the same in tests as in production.

    Args:
        stop_within_s: requests that still run so many seconds after the server began to stop are
            cancelled.
    """
    import uvicorn

    from gateway.edge.protocol import BoundedProtocol

    return uvicorn.Config(
        application,
        factory=True,
        workers=workers,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=stop_within_s,  # type: ignore[arg-type] # for asyncio.wait_for
    )


def configure_log(level: int = logging.INFO) -> None:
    """Log one line per event to standard error, with the id of the current request."""
    from gateway.edge.request_context import RequestIdFilter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    handler.addFilter(RequestIdFilter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # kafka-python logs every connection attempt; the gateway logs an unavailable broker once.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # for the same reason


def _application(settings: Settings) -> "FastAPI":
    from gateway.app import make_app

    configure_log()
    _end_with_parent()
    app = make_app(settings)
    # Imported objects are never freed: without this, every full collection scans them, and a
    # request that arrives meanwhile waits for tens of milliseconds.
    gc.freeze()
    gc.enable()
    return app


def _serve_by_workers(config: "uvicorn.Config", listener: socket.socket) -> None:
    from uvicorn.supervisors.multiprocess import Multiprocess

    class Workers(Multiprocess):
        def terminate_all(self) -> None:
            # Otherwise the kernel would accept connections that no worker serves any more.
            listener.close()
            super().terminate_all()

    Workers(config, sockets=[listener]).run()


def _serve_here(config: "uvicorn.Config", listener: socket.socket) -> None:
    import uvicorn

    # uvicorn raises the signal again after its shutdown: with this handler SIGTERM, like SIGINT,
    # becomes a KeyboardInterrupt.
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, previous)


def _end_with_parent() -> None:
    """In a worker process, stop when the parent process ends; do nothing in the parent."""
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
