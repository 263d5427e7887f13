"""Keys may be off on loopback alone: the check that the server and the application share."""

import ipaddress

from ops.errors import ConfigurationError
from resources.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Refuse to serve without keys where others than this machine can connect.

    Raises:
        ConfigurationError: the host is no loopback address and `gateway_auth` is off.
    """
    if settings.gateway_auth == "off" and not is_loopback(settings.gateway_host):
        raise ConfigurationError(
            f"LALAFO_GATEWAY_AUTH=off, but LALAFO_GATEWAY_HOST={settings.gateway_host} lets others "
            "than this machine connect. Listen on 127.0.0.1, or set LALAFO_GATEWAY_AUTH=keys and "
            "make keys with `lalafo keys make`."
        )


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
