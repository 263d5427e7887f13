"""Ports of a stack: free ones, each for one server, and a clear line where there is none."""

import socket
from collections.abc import Iterator

import pytest

from lalafo_assets.stack.ports import PORTS_TRIED, chosen_port, free_port, port_is_free
from ops.errors import ConfigurationError


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
    with pytest.raises(ConfigurationError, match=f"port {taken} is in use.*--port"):
        chosen_port(taken, 3000)
    free = free_port(taken)
    assert chosen_port(free, 3000) == free
    assert chosen_port(None, free) == free


def test_two_servers_get_two_ports(taken: int) -> None:
    """A port that another server is about to take is not given again."""
    first = free_port(taken)
    assert free_port(first, apart_from=[first]) > first


def test_there_is_no_port_after_the_last() -> None:
    """An error in one line, as where all are in use."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 65_535))
        server.listen()
        with pytest.raises(ConfigurationError, match="no free port from 65535 to 65535"):
            free_port(65_535)
    with pytest.raises(ConfigurationError, match="no free port"):
        free_port(65_536)
