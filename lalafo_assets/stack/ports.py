"""Ports on this machine: free ones, who has the others, and waiting for a server to listen."""

import contextlib
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Self

import psutil

from ops.errors import ConfigurationError, RetryableError
from ops.types import ProgressCallback
from resources.processes.metrics_server import PORTS_TRIED as METRICS_PORTS_TRIED
from resources.settings import Settings

HOST = "127.0.0.1"
PORTS_TRIED = 20
_LAST_PORT = 65_535
START_TIMEOUT_S = 120.0
_SHOWN_CHARS = 80

DEFAULT_PORT = 3000
GATEWAY_PORT = 8080

Check = Callable[[], None]
"""Raises if the server that is waited for has ended."""


class PortClaims:
    """Ports that a stack gives to its servers, so that no other stack takes them before they
    listen, or while they restart. Use it in a `with`.

    A claim is an abstract Unix socket, which the kernel frees with the process. It is of the
    machine, for all users. Where there are none (outside of Linux), every claim succeeds.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._held:
            held.close()
        self._held.clear()

    def claim(self, port: int) -> bool:
        """Claim a port; False: another stack has claimed it."""
        if sys.platform != "linux":
            return True
        claimed = socket.socket(socket.AF_UNIX)
        try:
            claimed.bind(f"\0lalafo-port-{port}")
        except OSError:
            claimed.close()
            return False
        self._held.append(claimed)
        return True


@dataclass(frozen=True, slots=True)
class StackPorts:
    """The ports of a stack's servers."""

    ui: int
    gateway: int
    code_server: int

    @classmethod
    def choose(
        cls,
        ui: int | None,
        gateway: int | None,
        *,
        settings: Settings,
        claims: PortClaims,
        on_progress: ProgressCallback,
    ) -> Self:
        """Choose the ports before anything starts, and check that sessions can serve metrics.

        Args:
            ui: as requested for Dagster's UI; None: not requested.
            gateway: the same; None: LALAFO_GATEWAY_PORT, if it is set.
            claims: get the ports.

        Raises:
            ConfigurationError: a requested port is in use, or none is free.
        """
        option = "--gateway-port"
        if gateway is None and "gateway_port" in settings.model_fields_set:
            gateway, option = settings.gateway_port or None, "LALAFO_GATEWAY_PORT"
        chosen_ui = chosen_port(
            ui,
            DEFAULT_PORT,
            what="Dagster's UI",
            option="--port",
            claims=claims,
            on_progress=on_progress,
        )
        chosen_gateway = chosen_port(
            gateway,
            GATEWAY_PORT,
            what="the gateway",
            option=option,
            claims=claims,
            apart_from=[chosen_ui],
            on_progress=on_progress,
        )
        if settings.metrics_port > 0:
            free_port(
                settings.metrics_port, tried=METRICS_PORTS_TRIED, option="LALAFO_METRICS_PORT"
            )
        code_server = free_port(chosen_ui + 1, claims=claims, apart_from=[chosen_gateway])
        return cls(chosen_ui, chosen_gateway, code_server)


def chosen_port(
    requested: int | None,
    first: int,
    *,
    what: str,
    option: str,
    claims: PortClaims | None = None,
    apart_from: Collection[int] = (),
    on_progress: ProgressCallback = lambda _: None,
) -> int:
    """Return the port that was requested, or the first free one from `first` on.

    Args:
        what: the server that gets it, for messages.
        option: what chooses its port, for messages.
        claims: get the port; None: it is not claimed.
        apart_from: ports whose servers have not started yet.
        on_progress: called if the port is another one than `first`.

    Raises:
        ConfigurationError: the requested port is in use, or none is free.
    """
    if requested is None:
        found = free_port(first, claims=claims, apart_from=apart_from, option=option)
        if found != first and first not in apart_from:
            on_progress(
                f"port {first} is in use by {owner_of(first)}: {what} gets {found}; {option} "
                "chooses another"
            )
        return found
    if requested in apart_from:
        raise ConfigurationError(f"port {requested} is given to two servers: change {option}")
    if not port_is_free(requested) or (claims is not None and not claims.claim(requested)):
        raise ConfigurationError(
            f"port {requested}, for {what}, is in use by {owner_of(requested)}: end that program, "
            f"or choose another port with {option}"
        )
    return requested


def owner_of(port: int) -> str:
    """Return which process listens on a port, for messages: its id and its command, if readable."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.laddr.port != port:
                continue
            if connection.pid is None:
                break
            command = " ".join(psutil.Process(connection.pid).cmdline())
            return f"process {connection.pid} ({command[:_SHOWN_CHARS]})"
    return "another user's process" if not port_is_free(port) else "another stack that starts"


def free_port(
    first: int,
    *,
    claims: PortClaims | None = None,
    apart_from: Collection[int] = (),
    tried: int = PORTS_TRIED,
    option: str = "--port",
) -> int:
    """Return the first free port from `first` on.

    Args:
        claims: get the port; None: it is not claimed.
        apart_from: ports whose servers have not started yet.
        tried: how many ports are tried.
        option: what chooses the port, for messages.

    Raises:
        ConfigurationError: none of them is free.
    """
    end = min(first + tried, _LAST_PORT + 1)
    for port in range(first, end):
        if port in apart_from or not port_is_free(port):
            continue
        if claims is None or claims.claim(port):
            return port
    raise ConfigurationError(
        f"there is no free port from {first} to {min(first + tried - 1, _LAST_PORT)}; choose "
        f"another with {option}"
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
