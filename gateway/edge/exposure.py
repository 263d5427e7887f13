"""The check that API keys are off only on loopback; the server and the application share it."""

import ipaddress

from ops.errors import ConfigurationError
from resources.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Check that the gateway does not serve other machines without API keys.

    Raises:
        ConfigurationError: the host is not a loopback address and `gateway_auth` is off.
    """
    if settings.gateway_auth == "off" and not is_loopback(settings.gateway_host):
        raise ConfigurationError(
            f"LALAFO_GATEWAY_AUTH=off, but LALAFO_GATEWAY_HOST={settings.gateway_host} is not a "
            "loopback address: other machines can connect. Listen on 127.0.0.1, or set "
            "LALAFO_GATEWAY_AUTH=keys and create keys with `lalafo keys make`."
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
