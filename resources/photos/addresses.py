"""Restricts photo fetches to addresses of the public internet (protection against SSRF).

Checks the very address that a connection is about to be made to, so that a changed DNS answer, an
unusual spelling or a redirect can't lead into the internal network. Does not depend on URLs and
HTTP.
"""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Listed explicitly, because `is_global` differs between Python's patch releases.
_REFUSED_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 connects to this machine
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT, and some clouds' metadata (100.100.100.200)
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's metadata, on an address that looks public
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_IPV6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: contains an IPv4 address, perhaps a private one
        "3fff::/20",  # documentation
    )
)


class AddressRefusedError(OSError):
    """The address is not public. The text has no address, since it may reach a seller."""

    def __init__(self) -> None:
        super().__init__("leads to an address that is not public")


def is_public(address: str) -> bool:
    """Whether an address, in the form that a socket takes, is on the public internet.

    For IPv6 everything outside 2000::/3 is refused, IPv4-mapped and NAT64 addresses included. An
    address with a zone, or in a spelling that `ipaddress` does not parse, is refused too.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _REFUSED_IPV4)
    if parsed.scope_id is not None or parsed not in _PUBLIC_IPV6:
        return False
    return not any(parsed in network for network in _REFUSED_IPV6)


class AddressGuard:
    """Allows connections to checked addresses only, with two hooks of aiohttp's connector.

    Args:
        allows: whether an address is allowed; tests replace it.
    """

    def __init__(self, allows: Callable[[str], bool] = is_public) -> None:
        self.allows = allows

    def resolver(self, inner: AbstractResolver) -> AbstractResolver:
        """A resolver that refuses a name if any of its addresses is not allowed."""
        return _GuardedResolver(inner, self.allows)

    def open_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for one address tuple of `getaddrinfo`; raises AddressRefusedError.

        The second check: aiohttp calls this before every connection, with the very address that
        it connects to, also if the URL contains an address and no name is resolved.
        """
        family, kind, protocol, _, target = address
        if not self.allows(str(target[0])):
            raise AddressRefusedError
        return socket.socket(family=family, type=kind, proto=protocol)


class _GuardedResolver(AbstractResolver):
    """The first check: refuses the whole name before any of its addresses is tried."""

    def __init__(self, inner: AbstractResolver, allows: Callable[[str], bool]) -> None:
        self._inner = inner
        self._allows = allows

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not all(self._allows(result["host"]) for result in found):
            raise AddressRefusedError
        return found

    async def close(self) -> None:
        await self._inner.close()
