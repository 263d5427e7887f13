"""Ports on this machine: finds free ones, and waits for a server to listen."""

import socket
import time
import urllib.request
from collections.abc import Callable

from ops.errors import ConfigurationError, RetryableError

HOST = "127.0.0.1"
PORTS_TRIED = 20
START_TIMEOUT_S = 120.0

Check = Callable[[], None]
"""Raises if the server that is waited for has ended."""


def free_port(first: int) -> int:
    """Return the first free port from `first` on.

    Raises:
        ConfigurationError: none of the next PORTS_TRIED ports is free.
    """
    for port in range(first, first + PORTS_TRIED):
        if port_is_free(port):
            return port
    raise ConfigurationError(
        f"ports {first} to {first + PORTS_TRIED - 1} are all in use; choose another with --port"
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
