"""A TCP address before a unix socket: the embedded PostgreSQL listens on a socket alone."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial


class RoundTrips:
    """Counts how often a client sent something after the server had answered."""

    def __init__(self) -> None:
        self.count = 0
        self._server_spoke_last = True

    def __call__(self, *, from_client: bool) -> None:
        if from_client and self._server_spoke_last:
            self.count += 1
        self._server_spoke_last = not from_client


def _ignore(*, from_client: bool) -> None:
    """Nobody listens."""


@contextmanager
def tcp_relay(
    path: str, host: str = "127.0.0.1", passed: Callable[..., None] = _ignore
) -> Iterator[int]:
    """Relay connections to a unix socket; yields the port.

    Args:
        passed: is called before data is passed on, with `from_client`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        threading.Thread(target=_accept, args=(listener, path, passed), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, path: str, passed: Callable[..., None]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(path)
            for source, target in ((client, server), (server, client)):
                said = partial(passed, from_client=source is client)
                threading.Thread(target=_copy, args=(source, target, said), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket, said: Callable[[], None]) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            said()
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    source.close()
