"""Ports of a stack: free ones, each for one server, and a clear line where there is none."""

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from lalafo_assets.stack.ports import (
    PORTS_TRIED,
    PortClaims,
    StackPorts,
    chosen_port,
    free_port,
    port_is_free,
)
from ops.errors import ConfigurationError
from resources.settings import Settings

FOR = {"what": "a server", "option": "--port"}


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port on which a server listens, and after which there are others."""
    with socket.create_server((request.param, 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_passed_over(taken: int) -> None:
    """Whether its server listens on loopback or on every address."""
    assert not port_is_free(taken)
    assert taken < free_port(taken) < taken + PORTS_TRIED


def test_a_requested_port_in_use_is_refused(taken: int) -> None:
    """In one line that names it and says what to do; another is not taken silently."""
    refusal = f"port {taken}, for a server, is in use by process {os.getpid()} \\(.*--port"
    with pytest.raises(ConfigurationError, match=refusal):
        chosen_port(taken, 3000, **FOR)
    free = free_port(taken)
    assert chosen_port(free, 3000, **FOR) == free
    with pytest.raises(ConfigurationError, match=f"port {free} is given to two servers"):
        chosen_port(free, 3000, apart_from=[free], **FOR)


def test_another_port_than_the_usual_one_is_never_taken_without_a_word(taken: int) -> None:
    """The line names the process that has the usual one, and what chooses another."""
    lines: list[str] = []
    free = chosen_port(None, taken, on_progress=lines.append, **FOR)
    assert free > taken
    (line,) = lines
    assert f"port {taken} is in use by process {os.getpid()} (" in line
    assert f"a server gets {free}" in line and "--port" in line
    assert chosen_port(None, free, on_progress=lines.append, **FOR) == free
    assert len(lines) == 1


def test_a_stacks_ports_are_all_checked_before_anything_starts(taken: int) -> None:
    """The gateway's by its option and its variable, and the one of the sessions' metrics."""

    def chosen(ui: int | None, gateway: int | None, **settings: int) -> StackPorts:
        given = Settings.model_validate(settings)
        with PortClaims() as claims:
            return StackPorts.choose(
                ui, gateway, settings=given, claims=claims, on_progress=lambda _: None
            )

    free = free_port(taken)
    for option, arguments, settings in (
        ("--port", (taken, free), {}),
        ("--gateway-port", (free, taken), {}),
        ("LALAFO_GATEWAY_PORT", (free, None), {"gateway_port": taken}),
    ):
        with pytest.raises(ConfigurationError, match=f"port {taken}, for .*{option}"):
            chosen(*arguments, **settings)
    with pytest.raises(ConfigurationError, match="given to two servers: change --gateway-port"):
        chosen(free, free)
    ports = chosen(free, None, gateway_port=0)
    assert len({ports.ui, ports.gateway, ports.code_server}) == 3


def test_two_servers_get_two_ports(taken: int) -> None:
    """A port that another server is about to take is not given again."""
    first = free_port(taken)
    assert free_port(first, apart_from=[first]) > first


@pytest.mark.skipif(sys.platform != "linux", reason="abstract Unix sockets are Linux's")
def test_stacks_that_start_together_get_ports_of_their_own(taken: int) -> None:
    """Although none of their servers listens yet; a stack that has ended frees its ports."""
    with PortClaims() as one, PortClaims() as other:
        first = free_port(taken, claims=one)
        assert free_port(taken, claims=other) > first
        refusal = f"port {first}, for a server, is in use by another stack that starts: .*--port"
        with pytest.raises(ConfigurationError, match=refusal):
            chosen_port(first, 3000, claims=other, **FOR)
    with PortClaims() as later:
        assert free_port(taken, claims=later) == first


def test_there_is_no_port_after_the_last() -> None:
    """An error in one line, as where all are in use."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 65_535))
        server.listen()
        with pytest.raises(ConfigurationError, match="no free port from 65535 to 65535"):
            free_port(65_535)
    with pytest.raises(ConfigurationError, match="no free port"):
        free_port(65_536)
