"""The base class of both clients: the gateway's address, the plans, and the time limits.

Owns the defaults. The subclasses run the plans.
"""

import copy
from typing import Self

import httpx

from gateway.client.calls import Address
from gateway.client.plans import Plans
from gateway.client.retry import Policy

TIMEOUT_S = 10.0
PATIENCE_S = 30.0
WITHIN_S = 10.0
PAGE_ROWS = 200  # the most of a page
USER_AGENT = "lalafo-vision-client"


class BaseClient:
    """The state of a client, without its connections."""

    def __init__(self, address: Address, patience_s: float) -> None:
        self._address = address
        self._plans = Plans(address, Policy(patience_s))

    def within(self, *, timeout_s: float | None = None, patience_s: float | None = None) -> Self:
        """Return a copy of this client with other time limits, on the same connections.

        Close the original client, not the copy.
        """
        other = copy.copy(self)
        address = self._address
        if timeout_s is not None:
            address = Address(address.base_url, timeout_s)
        patience_s = self._plans.policy.patience_s if patience_s is None else patience_s
        BaseClient.__init__(other, address, patience_s)
        return other

    def __repr__(self) -> str:
        host = httpx.URL(self._address.base_url).host
        return f"<{type(self).__name__} of {host}>"


def request_headers(key: str) -> dict[str, str]:
    """The headers of every request; an empty key sends no Authorization header."""
    agent = {"User-Agent": USER_AGENT}
    return agent if key == "" else {**agent, "Authorization": f"Bearer {key}"}
