"""API keys as rows of `lalafo.api_keys`: made, rotated, revoked, listed.

Decides that a name is whose the keys are, and that a rotation leaves the old key valid for a grace
time, so that a caller can change over without an outage. A secret is returned once and stored
never. Who may do what with a key is the gateway's (`gateway/edge/auth.py`), within 5 s of a change
here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from gateway.edge.key_text import SCOPES, KeyText, new_key
from ops.errors import ConfigurationError
from resources.postgres.cursors import CursorSource

MAX_NAME_CHARS = 100
_COLUMNS = (
    "id, name, scopes, catalogs, requests_per_s, created_at, expires_at, revoked_at, last_used_at"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is told: everything but what proves it. `catalogs`: None means all."""

    id: str
    name: str
    scopes: list[str]
    catalogs: list[str] | None
    requests_per_s: float
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def state(self, now: datetime) -> str:
        """valid, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


def make(
    database: CursorSource,
    name: str,
    *,
    scopes: Sequence[str] = ("ingest", "read", "feedback"),
    catalogs: Sequence[str] | None = None,
    requests_per_s: float = 0.0,
    expires_at: datetime | None = None,
) -> KeyText:
    """Make a key for a name that has none which is valid.

    Args:
        requests_per_s: at most, in each process of the gateway; 0: as many as it likes.

    Raises:
        ConfigurationError: an argument is wrong, or the name has a valid key.
    """
    _check(name, scopes, catalogs, requests_per_s, expires_at)
    with database.cursor() as cursor:
        _only_one(cursor, name)
        if _valid(cursor, name):
            raise ConfigurationError(
                f"{name!r} has a valid key: `lalafo keys rotate {name}` replaces it, `lalafo keys "
                "list` shows it"
            )
        return _insert(cursor, name, scopes, catalogs, requests_per_s, expires_at)


def rotate(database: CursorSource, name: str, *, grace: timedelta) -> KeyText:
    """A new key for a name, with the same rights; those before it end after the grace time.

    The new key ends when the old one was going to: a rotation makes no right last longer.

    Raises:
        ConfigurationError: the name has no valid key, or the grace time is negative.
    """
    if grace < timedelta(0):
        raise ConfigurationError(f"a grace time of {grace} is over before it begins")
    with database.cursor() as cursor:
        _only_one(cursor, name)
        valid = _valid(cursor, name)
        if not valid:
            raise ConfigurationError(f"{name!r} has no valid key: {_names(cursor)}")
        newest = valid[0]
        cursor.execute(
            "UPDATE lalafo.api_keys SET expires_at = least(expires_at, now() + %s)"
            " WHERE id = ANY(%s)",
            (grace, [key.id for key in valid]),
        )
        return _insert(
            cursor, name, newest.scopes, newest.catalogs, newest.requests_per_s, newest.expires_at
        )


def revoke(database: CursorSource, name_or_id: str) -> list[ApiKey]:
    """End every valid key of a name, or the one of an id, now; those that were ended.

    Raises:
        ConfigurationError: there is none.
    """
    with database.cursor() as cursor:
        own = cursor.connection.cursor(row_factory=class_row(ApiKey))
        ended = own.execute(
            "UPDATE lalafo.api_keys SET revoked_at = now() WHERE (name = %(which)s OR"
            " id = %(which)s) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
            f" RETURNING {_COLUMNS}",
            {"which": name_or_id},
        ).fetchall()
        if not ended:
            raise ConfigurationError(f"no valid key is named {name_or_id!r}: {_names(cursor)}")
        return ended


def keys(database: CursorSource) -> list[ApiKey]:
    """Every key that was ever made, by name, the newest first."""
    with database.cursor() as cursor:
        own = cursor.connection.cursor(row_factory=class_row(ApiKey))
        return own.execute(
            f"SELECT {_COLUMNS} FROM lalafo.api_keys ORDER BY name, created_at DESC, id"
        ).fetchall()


def _valid(cursor: psycopg.Cursor[Any], name: str) -> list[ApiKey]:
    """The newest first: of two in the grace time of a rotation, the one that stays."""
    own = cursor.connection.cursor(row_factory=class_row(ApiKey))
    return own.execute(
        f"SELECT {_COLUMNS} FROM lalafo.api_keys WHERE name = %s AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > now()) ORDER BY created_at DESC, id",
        (name,),
    ).fetchall()


def _only_one(cursor: psycopg.Cursor[Any], name: str) -> None:
    """Let no two processes make keys for one name at once: each would find none."""
    cursor.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('lalafo.api_keys/' || %s, 0))", (name,)
    )


def _insert(
    cursor: psycopg.Cursor[Any],
    name: str,
    scopes: Sequence[str],
    catalogs: Sequence[str] | None,
    requests_per_s: float,
    expires_at: datetime | None,
) -> KeyText:
    key = new_key()
    cursor.execute(
        "INSERT INTO lalafo.api_keys (id, name, hash, scopes, catalogs, requests_per_s, created_at,"
        " expires_at) VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp(), %s)",
        (
            key.id,
            name,
            key.hash,
            list(scopes),
            None if catalogs is None else list(catalogs),
            requests_per_s,
            expires_at,
        ),
    )
    return key


def _names(cursor: psycopg.Cursor[Any]) -> str:
    cursor.execute(
        "SELECT DISTINCT name FROM lalafo.api_keys WHERE revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > now()) ORDER BY name LIMIT 20"
    )
    names = [str(name) for (name,) in cursor.fetchall()]
    return f"there are {', '.join(names)}" if names else "there are no keys yet"


def _check(
    name: str,
    scopes: Sequence[str],
    catalogs: Sequence[str] | None,
    requests_per_s: float,
    expires_at: datetime | None,
) -> None:
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise ConfigurationError(f"a key's name has 1 to {MAX_NAME_CHARS} printable characters")
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise ConfigurationError(
            f"scopes {', '.join(unknown) or '(none)'}: expected some of {', '.join(SCOPES)}"
        )
    if catalogs is not None and (not catalogs or any(c == "" or "/" in c for c in catalogs)):
        raise ConfigurationError(
            f"catalogs {list(catalogs)}: expected at least one, none empty or with a slash; leave "
            "them out for all"
        )
    if not 0 <= requests_per_s < 1e6:
        raise ConfigurationError(f"{requests_per_s} requests a second: expected 0 to 1,000,000")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise ConfigurationError(f"the key would have expired already, at {expires_at:%Y-%m-%d}")
