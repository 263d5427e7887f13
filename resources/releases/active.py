"""The row of active releases, as readers and sessions see it; `promotion.py` changes it.

    live        the release that readers use, and that is published on `ads.scored`
    candidate   also scored, until it is promoted or withdrawn
    previous    live before the last promotion; still scored, so that a rollback is only a switch
    announced   not active yet: sessions load it in advance, so that activation needs no pause

Every commit of a session holds a shared lock on this row while it writes the predictions of all
active releases; every change takes an exclusive lock. Therefore an ad that was committed after a
release became active has its predictions. Only the days that had ads before that are unscored
(`coverage.py`).
"""

from dataclasses import dataclass

from ops.errors import ConfigurationError
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease


@dataclass(frozen=True, slots=True)
class ActiveReleases:
    """The set of releases against which every commit is checked."""

    live: RegisteredRelease
    candidate: RegisteredRelease | None = None
    previous: RegisteredRelease | None = None

    @property
    def all(self) -> tuple[RegisteredRelease, ...]:
        """All active releases, the live one first."""
        return tuple(r for r in (self.live, self.candidate, self.previous) if r is not None)


def read_active_releases(database: Database) -> ActiveReleases:
    """Return the active releases; raises ConfigurationError if no release is live yet."""
    with database.statement() as cursor:
        cursor.execute(
            "SELECT r.name, r.digest, r.backbone, r.manifest, r.gate, "
            "f.live, f.candidate, f.previous FROM lalafo.active_releases AS f "
            "JOIN lalafo.releases AS r ON r.name IN (f.live, f.candidate, f.previous)"
        )
        rows = cursor.fetchall()
    if not rows:
        raise ConfigurationError(
            "no release is live, so ads cannot be scored. `lalafo demo` builds and installs one; "
            "`lalafo releases install starter` installs the one that is shipped."
        )
    known = {row[0]: RegisteredRelease(*row[:5]) for row in rows}
    live, candidate, previous = rows[0][5:]
    return ActiveReleases(known[live], known.get(candidate), known.get(previous))


def read_announced(database: Database) -> RegisteredRelease | None:
    """Return the announced release, which becomes active soon; None if there is none."""
    with database.statement() as cursor:
        cursor.execute(
            "SELECT r.name, r.digest, r.backbone, r.manifest, r.gate "
            "FROM lalafo.active_releases AS f JOIN lalafo.releases AS r ON r.name = f.announced"
        )
        row = cursor.fetchone()
        return None if row is None else RegisteredRelease(*row)
