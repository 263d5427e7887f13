"""Who calls, and what they may do: API keys with scopes and catalogs.

Decides that a key is looked up by its id and compared by its hash in constant time.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request

from gateway.database import GatewayDatabase
from gateway.problems import Problem
from resources.settings import Settings

Scope = Literal["ingest", "read", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = ("ingest", "read", "feedback", "admin")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request this is. `catalogs`: those that it may see; None: all."""

    key_id: str
    name: str
    scopes: frozenset[str]
    catalogs: frozenset[str] | None
    requests_per_s: float

    def require_catalog(self, catalog: str) -> None:
        """Refuse a catalog that is not this caller's, as if there were none."""
        if self.catalogs is not None and catalog not in self.catalogs:
            raise Problem(403, "other_catalog", f"this key is not for the catalog {catalog!r}")


EVERYBODY = Caller("none", "whoever reaches it", frozenset(SCOPES), None, 0.0)


class KeyRing:
    """The keys that are known, as PostgreSQL has them."""

    def __init__(self, database: GatewayDatabase, settings: Settings) -> None:
        self._database = database
        self._off = settings.gateway_auth == "off"

    async def caller(self, request: Request) -> Caller:
        """Who sent a request; a Problem with status 401 where nobody that we know."""
        if self._off:
            return EVERYBODY
        raise Problem(401, "no_key", "send an API key: Authorization: Bearer lv_…")


def allowed(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, if the key has the scope (or `admin`)."""

    async def caller(request: Request) -> Caller:
        found: Caller = await request.app.state.services.keys.caller(request)
        if scope not in found.scopes and "admin" not in found.scopes:
            raise Problem(403, "scope", f"this key may not {scope}: it has {sorted(found.scopes)}")
        return found

    return caller


Ingest = Annotated[Caller, Depends(allowed("ingest"))]
Read = Annotated[Caller, Depends(allowed("read"))]
Feedback = Annotated[Caller, Depends(allowed("feedback"))]
Admin = Annotated[Caller, Depends(allowed("admin"))]
