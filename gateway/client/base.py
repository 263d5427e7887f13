"""What both clients are made of: where the gateway is, the plans, and the limits.

Decides defaults. The twins add what runs a plan.
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
USER_AGENT = "lalafo-vision-client"


class BaseClient:
    """What both twins hold."""

    def __init__(self, address: Address, patience_s: float) -> None:
        self._address = address
        self._plans = Plans(address, Policy(patience_s))

    def within(self, *, timeout_s: float | None = None, patience_s: float | None = None) -> Self:
        """This client with other time limits, on the same connections: for a call or a few.

        Close the client that it came from, not this one.
        """
        twin = copy.copy(self)
        address = self._address
        if timeout_s is not None:
            address = Address(address.base_url, timeout_s)
        patience_s = self._plans.policy.patience_s if patience_s is None else patience_s
        BaseClient.__init__(twin, address, patience_s)
        return twin

    def __repr__(self) -> str:
        host = httpx.URL(self._address.base_url).host
        return f"<{type(self).__name__} of {host}>"


def request_headers(key: str) -> dict[str, str]:
    """Sent with every request; "" is no key."""
    agent = {"User-Agent": USER_AGENT}
    return agent if key == "" else {**agent, "Authorization": f"Bearer {key}"}
