"""The registry of releases in PostgreSQL: rows, partitions of `predictions`, gate verdicts.

Owns the registration of a release and its recorded verdict. Which releases score ads is in
`active.py`; the files are in `resources/storage/releases.py`.
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
    """A release that is registered in PostgreSQL."""

    name: str
    digest: str
    backbone: str  # the key of its embeddings
    manifest: dict[str, Any]
    gate: dict[str, Any] | None = None  # the verdict's JSON; None before the gate has run

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it runs, sorted: those for which it has a head."""
        return tuple(sorted({*self.manifest["taxonomy"], *self.manifest.get("heads", ())}))

    @property
    def passed(self) -> bool:
        """Whether it has passed its gate."""
        return self.gate is not None and bool(self.gate["passed"])


_COLUMNS = "name, digest, backbone, manifest, gate"


def register(database: Database, release: RegisteredRelease) -> None:
    """Register a release and create the partition of its predictions; repeats do nothing."""
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.releases (name, digest, backbone, manifest) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (name) DO NOTHING",
            (release.name, release.digest, release.backbone, Jsonb(release.manifest)),
        )
        ensure_partition(cursor, release.name)


def ensure_partition(cursor: psycopg.Cursor[Any], name: str) -> None:
    """Create a release's partitions of `predictions` and `photo_predictions`, where missing.

    Each is created as a table and then attached: `CREATE TABLE … PARTITION OF` would block every
    reader and writer.

    Raises:
        ConfigurationError: there is no release of that name.
    """
    cursor.execute("SELECT digest FROM lalafo.releases WHERE name = %s FOR UPDATE", (name,))
    row = cursor.fetchone()
    if row is None:
        raise ConfigurationError(
            f"no release named {name}; `lalafo releases` lists the installed ones"
        )
    _attach_partition(cursor, "predictions", partition_name(row[0]), name)
    _attach_partition(cursor, "photo_predictions", photo_partition_name(row[0]), name)


def _attach_partition(cursor: psycopg.Cursor[Any], of: str, partition: str, name: str) -> None:
    parent, table = sql.Identifier("lalafo", of), sql.Identifier("lalafo", partition)
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table.as_string(cursor),))
    if cursor.fetchall()[0][0]:
        return
    cursor.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(table, parent))
    cursor.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES IN ({})").format(parent, table, name)
    )


def partition_name(digest: str) -> str:
    """Return the name of the table of a release's predictions."""
    return f"predictions_{digest[:16]}"


def photo_partition_name(digest: str) -> str:
    """Return the name of the table of a release's answers for photos."""
    return f"photo_predictions_{digest[:16]}"


def read_releases(database: Database) -> list[RegisteredRelease]:
    """Return every registered release, newest first."""
    with database.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM lalafo.releases ORDER BY created_at DESC, name")
        return [RegisteredRelease(*row) for row in cursor.fetchall()]


def find_release(database: Database, name: str) -> RegisteredRelease:
    """Return the release with this name, or the only one whose name or digest has this prefix.

    Raises:
        ConfigurationError: no release matches, or several do; the message lists them.
    """
    known = read_releases(database)
    matches = [release for release in known if release.name == name] or [
        release
        for release in known
        if name != "" and (release.name.startswith(name) or release.digest.startswith(name))
    ]
    if len(matches) == 1:
        return matches[0]
    which = "no release" if not matches else f"{len(matches)} releases"
    names = ", ".join(release.name for release in matches or known) or "none"
    raise ConfigurationError(f"{which} named {name!r}; known: {names}")


def write_verdict(database: Database, name: str, verdict: Mapping[str, Any]) -> None:
    """Store a gate's verdict, JSON with `passed` (bool); replaces an earlier one."""
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.releases SET gate = %s WHERE name = %s", (Jsonb(dict(verdict)), name)
        )
        if cursor.rowcount == 0:
            raise ConfigurationError(f"no release named {name}: install it before its gate runs")
