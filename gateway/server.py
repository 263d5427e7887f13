"""Serving: the address, the processes, the log, and a stop that lets requests end.

Decides which server runs the application and that keys are off on loopback alone. Knows no route.
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

from gateway.backends.database import driver_url
from gateway.edge.exposure import check_exposure
from ops.errors import ConfigurationError
from resources.settings import Settings

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

STOP_WITHIN_S = 10  # requests that still run after so long are cut off
KEEP_ALIVE_S = 30  # longer than a client's pause between two calls, so that few meet a closed one
BACKLOG = 2048
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"


def serve(settings: Settings, *, on_progress: Callable[[str], object] = lambda _: None) -> None:
    """Serve until SIGINT or SIGTERM; call it in the main thread.

    Args:
        told: gets the address once it is ours, before the application has started.

    Raises:
        ConfigurationError: a setting is missing or wrong, or the address is taken.
    """
    check_exposure(settings)
    driver_url(settings.require("database_url"))
    listener = bind(settings.gateway_host, settings.gateway_port)
    on_progress(address(listener))
    config = server_config(partial(_application, settings), workers=settings.gateway_workers)
    try:
        if settings.gateway_workers == 1:
            _serve_here(config, listener)
        else:
            from uvicorn.supervisors.multiprocess import Multiprocess

            Multiprocess(config, sockets=[listener]).run()
    finally:
        listener.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket on an address; port 0 takes a free one.

    Raises:
        ConfigurationError: the address is taken, or is not this machine's.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"LALAFO_GATEWAY_HOST={host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"the gateway can't listen on {host}:{port}: {error.strerror}. Name another address "
            "with LALAFO_GATEWAY_HOST and LALAFO_GATEWAY_PORT; port 0 takes any free one."
        ) from error
    listener.set_inheritable(True)
    return listener


def address(listener: socket.socket) -> str:
    """Where a bound socket is reached: http://host:port."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_config(application: "Callable[[], FastAPI]", *, workers: int = 1) -> "uvicorn.Config":
    """How the application is served, the same in a test as in production."""
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
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )


def configure_log(level: int = logging.INFO) -> None:
    """One line an event on standard error, with the id of the request that it is about."""
    from gateway.edge.request_context import WithRequestId

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    handler.addFilter(WithRequestId())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # kafka-python tells every attempt to connect; that the broker is away is told by us, once.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # the same of PostgreSQL


def _application(settings: Settings) -> "FastAPI":
    from gateway.app import make_app

    configure_log()
    _end_with_parent()
    app = make_app(settings)
    # What was imported stays: a full collection would go through it again and again, and a request
    # that comes meanwhile waits for tens of milliseconds.
    gc.freeze()
    gc.enable()
    return app


def _serve_here(config: "uvicorn.Config", listener: socket.socket) -> None:
    import uvicorn

    # uvicorn raises the signal anew after its stop: then it is a KeyboardInterrupt either way.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_with_parent() -> None:
    """Let a worker stop where the process that started it was killed; nothing in the first one."""
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
