"""A live gateway for tests: the real server on a free loopback port, in a thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from gateway.app import make_app
from gateway.edge.exposure import check_exposure
from gateway.server import address, bind, server_config
from resources.settings import Settings

START_WITHIN_S = 90.0
STOP_WITHIN_S = 90.0


@dataclass(frozen=True, slots=True)
class LiveGateway:
    """A running gateway. `app.state.services` belongs to the event loop of the server's thread."""

    url: str
    app: FastAPI


@contextmanager
def live_gateway(settings: Settings) -> Iterator[LiveGateway]:
    """Serve the application as `python -m gateway` does, and stop it at the end.

    If `gateway_auth` is "keys", which is the default, create keys with `gateway.edge.keys.make`.
    """
    check_exposure(settings)
    app = make_app(settings)
    server = uvicorn.Server(server_config(lambda: app))
    listener = bind(settings.gateway_host, 0)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run(sockets=[listener])
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            failed.append(error)

    thread = threading.Thread(target=run, name="live gateway")
    thread.start()
    try:
        _wait_until_started(server, thread, failed)
        yield LiveGateway(address(listener), app)
    finally:
        server.should_exit = True
        thread.join(STOP_WITHIN_S)
        listener.close()
        assert not thread.is_alive(), "the gateway did not stop"


def _wait_until_started(
    server: uvicorn.Server, thread: threading.Thread, failed: list[BaseException]
) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while not server.started:
        if failed or not thread.is_alive():
            raise RuntimeError(f"the gateway did not start: {failed}")
        assert time.monotonic() < deadline, "the gateway did not start in time"
        time.sleep(0.01)
