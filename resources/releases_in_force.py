"""Which releases score: the registry in PostgreSQL and the one row that names those in force.

Decides how a release becomes known (its row, its partition of `predictions`) and how the row in
force moves; the files themselves are `release_store.py`'s.
"""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ops.errors import ConfigurationError
from resources.database import Database


@dataclass(frozen=True, slots=True)
class RegisteredRelease:
    """A release that PostgreSQL knows."""

    name: str
    digest: str
    backbone: str
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReleasesInForce:
    """The set that every commit is checked against."""

    live: RegisteredRelease
    candidate: RegisteredRelease | None

    @property
    def all(self) -> tuple[RegisteredRelease, ...]:
        """The live one first."""
        return (self.live,) if self.candidate is None else (self.live, self.candidate)


def register(database: Database, release: RegisteredRelease) -> None:
    """Make a release known, with a partition for its predictions; again is a no-op."""
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.releases (name, digest, backbone, manifest) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (name) DO NOTHING",
            (release.name, release.digest, release.backbone, Jsonb(release.manifest)),
        )
        cursor.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS lalafo.{} PARTITION OF lalafo.predictions "
                "FOR VALUES IN ({})"
            ).format(sql.Identifier(partition_name(release.digest)), release.name)
        )


def partition_name(digest: str) -> str:
    """The table that holds a release's predictions."""
    return f"predictions_{digest[:16]}"


def put_live(database: Database, name: str) -> None:
    """Point readers and sessions at a release; sessions follow at their next commit."""
    with database.cursor() as cursor:
        try:
            cursor.execute(
                "INSERT INTO lalafo.releases_in_force (live) VALUES (%s) "
                "ON CONFLICT (one_row) DO UPDATE SET live = EXCLUDED.live, candidate = NULL, "
                "changed_at = now()",
                (name,),
            )
        except psycopg.errors.ForeignKeyViolation as error:
            raise ConfigurationError(
                f"no release named {name}; `lalafo releases` lists those that are known"
            ) from error


def read_in_force(database: Database) -> ReleasesInForce:
    """The set in force; ConfigurationError where no release is live yet."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT r.name, r.digest, r.backbone, r.manifest, r.name = f.live "
            "FROM lalafo.releases_in_force AS f "
            "JOIN lalafo.releases AS r ON r.name IN (f.live, f.candidate)"
        )
        rows = cursor.fetchall()
    live = [RegisteredRelease(*row[:4]) for row in rows if row[4]]
    candidates = [RegisteredRelease(*row[:4]) for row in rows if not row[4]]
    if not live:
        raise ConfigurationError(
            "no release is live: nothing can score ads. `lalafo demo` makes and installs one; "
            "`lalafo releases install starter` installs the shipped one."
        )
    return ReleasesInForce(live[0], candidates[0] if candidates else None)


def read_releases(database: Database) -> list[RegisteredRelease]:
    """Every release known, the newest first."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT name, digest, backbone, manifest FROM lalafo.releases ORDER BY created_at DESC"
        )
        return [RegisteredRelease(*row) for row in cursor.fetchall()]
