"""The releases that PostgreSQL knows: rows, partitions of `predictions`, verdicts.

Decides how a release becomes known, and what is on record of it. Which of them score is
`active_releases.py`'s; the files themselves are `release_store.py`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ops.errors import ConfigurationError
from resources.postgres.database import Database


@dataclass(frozen=True, slots=True)
class RegisteredRelease:
    """A release that PostgreSQL knows."""

    name: str
    digest: str
    backbone: str  # the key of its embeddings
    manifest: dict[str, Any]
    gate: dict[str, Any] | None = None  # the verdict's JSON; None until judged

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it has a head for, sorted."""
        return tuple(sorted(self.manifest["taxonomy"]))

    @property
    def passed(self) -> bool:
        """Whether its gate has let it through."""
        return self.gate is not None and bool(self.gate["passed"])


_COLUMNS = "name, digest, backbone, manifest, gate"


def register(database: Database, release: RegisteredRelease) -> None:
    """Make a release known, with a partition for its predictions; again is a no-op."""
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.releases (name, digest, backbone, manifest) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (name) DO NOTHING",
            (release.name, release.digest, release.backbone, Jsonb(release.manifest)),
        )
        ensure_partition(cursor, release.name)


def ensure_partition(cursor: psycopg.Cursor[Any], name: str) -> None:
    """Make a release's partition of `predictions` where there is none.

    Made apart and attached: `CREATE TABLE … PARTITION OF` would lock every reader and writer out.
    """
    cursor.execute("SELECT digest FROM lalafo.releases WHERE name = %s FOR UPDATE", (name,))
    row = cursor.fetchone()
    if row is None:
        raise ConfigurationError(
            f"no release named {name}; `lalafo releases` lists those that are known"
        )
    table = sql.Identifier("lalafo", partition_name(row[0]))
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table.as_string(cursor),))
    if cursor.fetchall()[0][0]:
        return
    cursor.execute(sql.SQL("CREATE TABLE {} (LIKE lalafo.predictions INCLUDING ALL)").format(table))
    cursor.execute(
        sql.SQL("ALTER TABLE lalafo.predictions ATTACH PARTITION {} FOR VALUES IN ({})").format(
            table, name
        )
    )


def partition_name(digest: str) -> str:
    """The table that holds a release's predictions."""
    return f"predictions_{digest[:16]}"


def read_releases(database: Database) -> list[RegisteredRelease]:
    """Every release known, the newest first."""
    with database.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM lalafo.releases ORDER BY created_at DESC, name")
        return [RegisteredRelease(*row) for row in cursor.fetchall()]


def find_release(database: Database, name: str) -> RegisteredRelease:
    """The release of that name, or the only one whose name or digest starts so.

    Raises:
        ConfigurationError: none is, or several are; the message lists them.
    """
    known = read_releases(database)
    found = [release for release in known if release.name == name] or [
        release
        for release in known
        if name != "" and (release.name.startswith(name) or release.digest.startswith(name))
    ]
    if len(found) == 1:
        return found[0]
    which = "no release" if not found else f"{len(found)} releases"
    names = ", ".join(release.name for release in found or known) or "none"
    raise ConfigurationError(f"{which} named {name!r}; known: {names}")


def write_verdict(database: Database, name: str, verdict: Mapping[str, Any]) -> None:
    """Put a gate's verdict on record: JSON with `passed` (bool), in place of an earlier one."""
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.releases SET gate = %s WHERE name = %s", (Jsonb(dict(verdict)), name)
        )
        if cursor.rowcount == 0:
            raise ConfigurationError(f"no release named {name}: install it before it is judged")
