"""API keys in `lalafo.api_keys`: create, rotate, revoke and list them.

Keys belong to a name. A rotation leaves the old key valid for a grace period, so that a caller can
change keys without an outage. A secret is returned once and never stored. Running gateways apply a
change within 5 s (`gateway/edge/auth.py`).
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
    """A row of `lalafo.api_keys` without the hash. `catalogs`: None means all."""

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
    """Create a key for a name that has no valid key.

    Args:
        requests_per_s: the limit in each gateway process; 0: no limit.

    Raises:
        ConfigurationError: an argument is wrong, or the name already has a valid key.
    """
    _check(name, scopes, catalogs, requests_per_s, expires_at)
    with database.cursor() as cursor:
        _lock_name(cursor, name)
        if _valid(cursor, name):
            raise ConfigurationError(
                f"{name!r} already has a valid key: `lalafo keys rotate {name}` replaces it, "
                "`lalafo keys list` shows it"
            )
        return _insert(cursor, name, scopes, catalogs, requests_per_s, expires_at)


def rotate(database: CursorSource, name: str, *, grace: timedelta) -> KeyText:
    """Create a new key for a name with the same rights; the old ones expire after the grace period.

    The new key keeps the old one's expiry: a rotation does not extend access.

    Raises:
        ConfigurationError: the name has no valid key, or the grace period is negative.
    """
    if grace < timedelta(0):
        raise ConfigurationError(f"grace period {grace}: expected 0 or more")
    with database.cursor() as cursor:
        _lock_name(cursor, name)
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
    """Revoke every valid key of a name, or the key with an id, at once.

    Returns:
        The revoked keys.

    Raises:
        ConfigurationError: there is no such valid key.
    """
    with database.cursor() as cursor:
        key_cursor = cursor.connection.cursor(row_factory=class_row(ApiKey))
        revoked = key_cursor.execute(
            "UPDATE lalafo.api_keys SET revoked_at = now() WHERE (name = %(which)s OR"
            " id = %(which)s) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
            f" RETURNING {_COLUMNS}",
            {"which": name_or_id},
        ).fetchall()
        if not revoked:
            raise ConfigurationError(
                f"no valid key has the name or id {name_or_id!r}: {_names(cursor)}"
            )
        return revoked


def keys(database: CursorSource) -> list[ApiKey]:
    """Every key that was ever created, ordered by name, newest first."""
    with database.cursor() as cursor:
        key_cursor = cursor.connection.cursor(row_factory=class_row(ApiKey))
        return key_cursor.execute(
            f"SELECT {_COLUMNS} FROM lalafo.api_keys ORDER BY name, created_at DESC, id"
        ).fetchall()


def _valid(cursor: psycopg.Cursor[Any], name: str) -> list[ApiKey]:
    """The valid keys of a name, newest first; during a grace period the first is the new key."""
    key_cursor = cursor.connection.cursor(row_factory=class_row(ApiKey))
    return key_cursor.execute(
        f"SELECT {_COLUMNS} FROM lalafo.api_keys WHERE name = %s AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > now()) ORDER BY created_at DESC, id",
        (name,),
    ).fetchall()


def _lock_name(cursor: psycopg.Cursor[Any], name: str) -> None:
    """Lock the name until the transaction ends: concurrent `make` calls would both find no key."""
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
    return f"names with valid keys: {', '.join(names)}" if names else "there are no keys yet"


def _check(
    name: str,
    scopes: Sequence[str],
    catalogs: Sequence[str] | None,
    requests_per_s: float,
    expires_at: datetime | None,
) -> None:
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise ConfigurationError(
            f"key name {name!r}: expected 1 to {MAX_NAME_CHARS} printable characters"
        )
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise ConfigurationError(
            f"scopes {', '.join(unknown) or '(none)'}: expected some of {', '.join(SCOPES)}"
        )
    if catalogs is not None and (not catalogs or any(c == "" or "/" in c for c in catalogs)):
        raise ConfigurationError(
            f"catalogs {list(catalogs)}: expected at least one name, none of them empty or with a "
            "slash; omit the option for all catalogs"
        )
    if not 0 <= requests_per_s < 1e6:
        raise ConfigurationError(f"{requests_per_s} requests a second: expected 0 to 1,000,000")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise ConfigurationError(f"expiry {expires_at:%Y-%m-%d} is in the past")
