"""Authentication and authorization: API keys with scopes and catalogs.

A key is looked up by its id, and its hash is compared in constant time. A valid key is cached for
at most 5 s, so a revoked key stops working within 5 s. A wrong key is never cached: guesses use no
memory, and an unknown id takes as long as a wrong secret. `gateway/edge/keys.py` creates keys.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.edge.key_text import SCOPES, KeyText, Scope, read_key
from gateway.problems import Problem, unavailable
from ops.errors import RetryableError
from resources.settings import Settings

TRUSTED_S = 5.0  # a cache entry that is older is not used
FRESH_S = 2.5  # once an entry is older, one request looks the key up again; others still use it
USED_EVERY_S = 60.0
_MAX_BEFORE_SWEEP = 1_000
_NO_HASH = bytes(32)  # an unknown id's secret is compared with this

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller of a request. `catalogs`: those it may access; None: all."""

    key_id: str
    name: str
    scopes: frozenset[str]
    catalogs: frozenset[str] | None
    requests_per_s: float

    def require_catalog(self, catalog: str) -> None:
        """Raise a Problem (403) if the caller may not access the catalog, existing or not."""
        if self.catalogs is not None and catalog not in self.catalogs:
            raise Problem(
                403,
                "other_catalog",
                f"this key is not for the catalog {catalog!r}",
                catalogs=sorted(self.catalogs),
            )

    def require_scope(self, scope: Scope) -> None:
        """Raise a Problem (403) if the key has neither the scope nor `admin`."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Problem(
                403,
                "scope",
                f"this key lacks the scope {scope}; it has {', '.join(sorted(self.scopes))}",
                needed=scope,
                scopes=sorted(self.scopes),
            )


ANONYMOUS = Caller("none", "anonymous", frozenset(SCOPES), None, 0.0)  # where keys are off


@dataclass(slots=True)
class _Trusted:
    """A cached valid key, and when it was looked up in PostgreSQL (monotonic, seconds)."""

    caller: Caller
    expires_at: datetime | None
    looked_up: float
    refreshing: bool = False  # a request is looking it up again


class KeyRing:
    """Looks keys up in PostgreSQL, and caches valid ones. Use with `async with`.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        database: GatewayDatabase,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._off = settings.gateway_auth == "off"
        self._clock = clock
        self._trusted: dict[tuple[str, bytes], _Trusted] = {}  # by id and hash; valid keys only
        self._used: dict[str, float] = {}
        self._usage_writes: set[asyncio.Task[None]] = set()
        # A flood of wrong keys may use half of the connections, not all of them.
        self._lookups = asyncio.Semaphore(max(1, settings.gateway_connections // 2))

    async def __aenter__(self) -> "KeyRing":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._usage_writes:
            task.cancel()
        await asyncio.gather(*self._usage_writes, return_exceptions=True)

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """The caller that sent these headers.

        Raises:
            Problem: 401 if the key is missing or not valid, 503 if PostgreSQL is unavailable.
        """
        if self._off:
            return ANONYMOUS
        key = presented(headers)
        if key is None:
            raise _missing_key()
        cached = self._trusted.get((key.id, key.hash))
        age = 0.0 if cached is None else self._clock() - cached.looked_up
        if cached is None or age >= TRUSTED_S or (age >= FRESH_S and not cached.refreshing):
            cached = await self._refresh(key, cached)
        if cached.expires_at is not None and cached.expires_at <= datetime.now(UTC):
            raise _unauthorized("expired_key", "this key has expired: ask for a new one")
        self._record_use(cached.caller.key_id)
        return cached.caller

    async def _refresh(self, key: KeyText, cached: _Trusted | None) -> _Trusted:
        if cached is not None:
            cached.refreshing = True
        try:
            found = await self._look_up(key)
        except RetryableError as error:
            log.warning("API key lookup failed: %s", error)
            raise unavailable("the API key database") from error
        except Problem:
            self._trusted.pop((key.id, key.hash), None)
            raise
        finally:
            if cached is not None:
                cached.refreshing = False
        if len(self._trusted) >= _MAX_BEFORE_SWEEP:
            self._sweep()
        self._trusted[key.id, key.hash] = found
        return found

    @repeated_once(repeatable=True)
    async def _look_up(self, key: KeyText) -> _Trusted:
        """Look a key up in PostgreSQL, by the same steps whether it exists or not."""
        async with self._lookups:
            # Before the query: the age of the entry is then never underestimated.
            looked_up = self._clock()
            async with self._database.connection() as connection:
                rows = await connection.execute(
                    "SELECT name, hash, scopes, catalogs, requests_per_s, expires_at,"
                    " revoked_at IS NOT NULL FROM lalafo.api_keys WHERE id = %s",
                    (key.id,),
                )
                row = await rows.fetchone()
        stored = _NO_HASH if row is None else bytes(row[1])
        matches = hmac.compare_digest(stored, key.hash)
        if row is None or not matches:
            raise _unauthorized("wrong_key", "this key is not known")
        name, _, scopes, catalogs, requests_per_s, expires_at, revoked = row
        if revoked:
            raise _unauthorized("revoked_key", "this key was revoked: ask for a new one")
        caller = Caller(
            key.id,
            name,
            frozenset(scopes),
            None if catalogs is None else frozenset(catalogs),
            requests_per_s,
        )
        return _Trusted(caller, expires_at, looked_up)

    def _sweep(self) -> None:
        now = self._clock()
        self._trusted = {k: t for k, t in self._trusted.items() if now - t.looked_up < TRUSTED_S}
        self._used = {k: at for k, at in self._used.items() if now - at < USED_EVERY_S}

    def _record_use(self, key_id: str) -> None:
        """Write `last_used_at`, once a minute, in a separate task: no request waits for it."""
        now = self._clock()
        if now - self._used.get(key_id, float("-inf")) < USED_EVERY_S:
            return
        self._used[key_id] = now
        task = asyncio.create_task(self._write_use(key_id), name="key used")
        self._usage_writes.add(task)
        task.add_done_callback(self._usage_writes.discard)

    async def _write_use(self, key_id: str) -> None:
        try:
            async with self._database.connection() as connection:
                await connection.execute(
                    # Several processes may see the same key: only one of them writes.
                    "UPDATE lalafo.api_keys SET last_used_at = now() WHERE id = %s AND"
                    " (last_used_at IS NULL OR last_used_at < now() - interval '55 s')",
                    (key_id,),
                )
        except RetryableError as error:
            log.warning("last_used_at of an API key was not written: %s", error)


def presented(headers: Mapping[str, str]) -> KeyText | None:
    """The key in a request's headers; None if none was sent.

    Raises:
        Problem: 401 if what was sent does not have the format of a key.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    text = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if text == "":
        if scheme != "":
            # The response does not repeat what was sent: it may be a secret.
            raise _unauthorized("no_key", "Authorization holds no key: expected Bearer lv_…")
        return None
    key = read_key(text)
    if key is None:
        raise _unauthorized("wrong_key", "this is not a key; expected the format lv_<id>_<secret>")
    return key


def _missing_key() -> Problem:
    return Problem(
        401,
        "no_key",
        "send an API key: Authorization: Bearer lv_… or X-API-Key: lv_…",
        headers={"WWW-Authenticate": 'Bearer realm="lalafo"'},
    )


def _unauthorized(kind: str, detail: str) -> Problem:
    challenge = 'Bearer realm="lalafo", error="invalid_token"'
    return Problem(401, kind, detail, headers={"WWW-Authenticate": challenge})


class RequireScope:
    """A dependency that returns the caller if its key has the scope (or `admin`).

    `gateway/openapi.py` reads `scope` for the documentation.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Caller:
        """The caller, which `limits.Gate` authenticated before the body was read."""
        caller = getattr(request.state, "caller", None)
        if caller is None:
            caller = await request.app.state.services.keys.caller(request.headers)
        assert isinstance(caller, Caller)
        caller.require_scope(self.scope)
        return caller


Ingest = Annotated[Caller, Depends(RequireScope("ingest"))]
Read = Annotated[Caller, Depends(RequireScope("read"))]
Feedback = Annotated[Caller, Depends(RequireScope("feedback"))]
Admin = Annotated[Caller, Depends(RequireScope("admin"))]
