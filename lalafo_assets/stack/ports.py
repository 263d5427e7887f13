"""Ports on this machine: finds free ones, and waits for a server to listen."""

import socket
import time
import urllib.request
from collections.abc import Callable, Collection

from ops.errors import ConfigurationError, RetryableError

HOST = "127.0.0.1"
PORTS_TRIED = 20
_LAST_PORT = 65_535
START_TIMEOUT_S = 120.0

Check = Callable[[], None]
"""Raises if the server that is waited for has ended."""


def chosen_port(requested: int | None, first: int) -> int:
    """Return the port that was requested, or the first free one from `first` on.

    Raises:
        ConfigurationError: the requested port is in use, or none is free.
    """
    if requested is None:
        return free_port(first)
    if not port_is_free(requested):
        raise ConfigurationError(
            f"port {requested} is in use: end the program that has it, choose another with --port, "
            "or leave --port out to get a free one"
        )
    return requested


def free_port(first: int, *, apart_from: Collection[int] = ()) -> int:
    """Return the first free port from `first` on.

    Args:
        apart_from: ports whose servers have not started yet.

    Raises:
        ConfigurationError: none of the next PORTS_TRIED ports is free.
    """
    tried = range(first, min(first + PORTS_TRIED, _LAST_PORT + 1))
    for port in tried:
        if port not in apart_from and port_is_free(port):
            return port
    raise ConfigurationError(
        f"there is no free port from {first} to {min(first + PORTS_TRIED - 1, _LAST_PORT)}; choose "
        "another with --port"
    )


def port_is_free(port: int) -> bool:
    """Return whether a server could listen on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def wait_for_port(port: int, check: Check, *, what: str) -> None:
    """Return once something listens on a port; RetryableError after START_TIMEOUT_S."""

    def listening() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((HOST, port)) == 0

    _wait(listening, check, what)


def wait_for_page(url: str, check: Check, *, what: str) -> None:
    """Return once a URL answers with status 200; RetryableError after START_TIMEOUT_S."""

    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - a stack's server
                return bool(answer.status == 200)
        except OSError:
            return False

    _wait(answers, check, what)


def _wait(ready: Callable[[], bool], check: Check, what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        check()
        if time.monotonic() > deadline:
            raise RetryableError(f"{what} did not start within {START_TIMEOUT_S:.0f} s")
        time.sleep(0.1)
