"""Who calls, and what they may do: API keys with scopes and catalogs.

Decides that a key is looked up by its id and its hash compared in constant time; that a key which
was right is trusted for 5 s at most, so that one that is revoked ends within that; and that a wrong
one is never remembered, so that guesses fill nothing and an unknown id costs what a wrong secret
does. How keys are made is `gateway/edge/keys.py`'s.
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

from gateway.backends.database import GatewayDatabase
from gateway.edge.key_text import SCOPES, KeyText, Scope, read_key
from gateway.problems import Problem, unavailable
from ops.errors import RetryableError
from resources.settings import Settings

TRUSTED_S = 5.0  # after so long a key is looked up before it is trusted again
FRESH_S = 2.5  # from then on one request looks it up, while others still trust it
USED_EVERY_S = 60.0
_KEPT_BEFORE_SWEEP = 1_000
_NOBODY = bytes(32)  # what an unknown id's secret is compared with

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request this is. `catalogs`: those that it may see; None: all."""

    key_id: str
    name: str
    scopes: frozenset[str]
    catalogs: frozenset[str] | None
    requests_per_s: float

    def require_catalog(self, catalog: str) -> None:
        """Refuse a catalog that is not this caller's, whether there is one or not."""
        if self.catalogs is not None and catalog not in self.catalogs:
            raise Problem(
                403,
                "other_catalog",
                f"this key is not for the catalog {catalog!r}",
                catalogs=sorted(self.catalogs),
            )

    def require_scope(self, scope: Scope) -> None:
        """Refuse what the key was not made for; `admin` may everything."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Problem(
                403,
                "scope",
                f"this key may not {scope}; it may {', '.join(sorted(self.scopes))}",
                needed=scope,
                scopes=sorted(self.scopes),
            )


EVERYBODY = Caller("none", "whoever reaches it", frozenset(SCOPES), None, 0.0)


@dataclass(slots=True)
class _Trusted:
    """A key that was right, and when PostgreSQL said so (monotonic)."""

    caller: Caller
    expires_at: datetime | None
    looked_up: float
    asked: bool = False  # a request is looking it up again


class KeyRing:
    """The keys that are known, as PostgreSQL has them; `async with` it.

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
        self._trusted: dict[tuple[str, bytes], _Trusted] = {}  # by id and hash: right ones alone
        self._used: dict[str, float] = {}
        self._notes: set[asyncio.Task[None]] = set()
        # A flood of wrong keys may hold half of the connections, not all.
        self._lookups = asyncio.Semaphore(max(1, settings.gateway_connections // 2))

    async def __aenter__(self) -> "KeyRing":
        return self

    async def __aexit__(self, *_: object) -> None:
        for note in self._notes:
            note.cancel()
        await asyncio.gather(*self._notes, return_exceptions=True)

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sent these headers.

        Raises:
            Problem: 401 where nobody that we know, 503 where PostgreSQL can't tell.
        """
        if self._off:
            return EVERYBODY
        key = presented(headers)
        if key is None:
            raise _unknown()
        known = self._trusted.get((key.id, key.hash))
        age = 0.0 if known is None else self._clock() - known.looked_up
        if known is None or age >= TRUSTED_S or (age >= FRESH_S and not known.asked):
            known = await self._look_up_again(key, known)
        if known.expires_at is not None and known.expires_at <= datetime.now(UTC):
            raise _refused("expired_key", "this key has expired: ask for a new one")
        self._note_use(known.caller.key_id)
        return known.caller

    async def _look_up_again(self, key: KeyText, known: _Trusted | None) -> _Trusted:
        if known is not None:
            known.asked = True
        try:
            found = await self._look_up(key)
        except RetryableError as error:
            log.warning("a key can't be looked up: %s", error)
            raise unavailable("what knows the keys") from error
        except Problem:
            self._trusted.pop((key.id, key.hash), None)
            raise
        finally:
            if known is not None:
                known.asked = False
        if len(self._trusted) >= _KEPT_BEFORE_SWEEP:
            self._sweep()
        self._trusted[key.id, key.hash] = found
        return found

    async def _look_up(self, key: KeyText) -> _Trusted:
        """What PostgreSQL has of a key; the same steps whether it has it or not."""
        async with self._lookups:
            asked_at = self._clock()  # what is read may be older than the answer, never than this
            async with self._database.connection() as connection:
                rows = await connection.execute(
                    "SELECT name, hash, scopes, catalogs, requests_per_s, expires_at,"
                    " revoked_at IS NOT NULL FROM lalafo.api_keys WHERE id = %s",
                    (key.id,),
                )
                row = await rows.fetchone()
        stored = _NOBODY if row is None else bytes(row[1])
        right = hmac.compare_digest(stored, key.hash)
        if row is None or not right:
            raise _refused("wrong_key", "this key is not known")
        name, _, scopes, catalogs, requests_per_s, expires_at, revoked = row
        if revoked:
            raise _refused("revoked_key", "this key was revoked: ask for a new one")
        caller = Caller(
            key.id,
            name,
            frozenset(scopes),
            None if catalogs is None else frozenset(catalogs),
            requests_per_s,
        )
        return _Trusted(caller, expires_at, asked_at)

    def _sweep(self) -> None:
        now = self._clock()
        self._trusted = {k: t for k, t in self._trusted.items() if now - t.looked_up < TRUSTED_S}
        self._used = {k: at for k, at in self._used.items() if now - at < USED_EVERY_S}

    def _note_use(self, key_id: str) -> None:
        """Have the use written, once a minute, by a task of its own: no request waits for it."""
        now = self._clock()
        if now - self._used.get(key_id, float("-inf")) < USED_EVERY_S:
            return
        self._used[key_id] = now
        note = asyncio.create_task(self._write_use(key_id), name="key used")
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def _write_use(self, key_id: str) -> None:
        try:
            async with self._database.connection() as connection:
                await connection.execute(
                    # Several processes know of one key's use: one of them writes.
                    "UPDATE lalafo.api_keys SET last_used_at = now() WHERE id = %s AND"
                    " (last_used_at IS NULL OR last_used_at < now() - interval '55 s')",
                    (key_id,),
                )
        except RetryableError as error:
            log.warning("when a key was last used is not written: %s", error)


def presented(headers: Mapping[str, str]) -> KeyText | None:
    """The key in a request's headers; None where none is sent.

    Raises:
        Problem: 401 where what is sent is no key.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    text = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if text == "":
        if scheme != "":
            # Whatever was sent is not told back: it may be a secret.
            raise _refused("no_key", "Authorization holds no key: expected Bearer lv_…")
        return None
    key = read_key(text)
    if key is None:
        raise _refused("wrong_key", "what was sent has not the shape of a key: lv_<id>_<secret>")
    return key


def _unknown() -> Problem:
    return Problem(
        401,
        "no_key",
        "send an API key: Authorization: Bearer lv_… or X-API-Key: lv_…",
        headers={"WWW-Authenticate": 'Bearer realm="lalafo"'},
    )


def _refused(kind: str, detail: str) -> Problem:
    challenge = 'Bearer realm="lalafo", error="invalid_token"'
    return Problem(401, kind, detail, headers={"WWW-Authenticate": challenge})


class Allowed:
    """A dependency: the caller, if the key has the scope (or `admin`). `scope` is documented."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Caller:
        """The caller, whom the gate knew before the body was read."""
        found = getattr(request.state, "caller", None)
        if found is None:
            found = await request.app.state.services.keys.caller(request.headers)
        assert isinstance(found, Caller)
        found.require_scope(self.scope)
        return found


Ingest = Annotated[Caller, Depends(Allowed("ingest"))]
Read = Annotated[Caller, Depends(Allowed("read"))]
Feedback = Annotated[Caller, Depends(Allowed("feedback"))]
Admin = Annotated[Caller, Depends(Allowed("admin"))]
