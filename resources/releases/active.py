"""The one row that names the releases in force, and every way in which it moves.

    live        what readers read, and what goes out on `ads.scored`
    candidate   scored beside it, until it is promoted or withdrawn
    previous    live before the last flip; scored along, so that going back is a flip as well
    announced   not in force yet: sessions load it, so that nobody waits when it comes in force

Every commit of a session holds a shared lock on this row while it writes what all three say of its
ads; every move takes the row exclusively. So whatever was committed after a release came in force
has its predictions, and what it owes is the days that had ads before (`release_days.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from ops.errors import ConfigurationError, NotReadyError
from ops.events.scored import promoted_event
from resources.kafka import outbox
from resources.postgres.database import Database
from resources.releases.coverage import open_days, unscored_days
from resources.releases.registry import RegisteredRelease, ensure_partition

Cursor = psycopg.Cursor[Any]
PROMOTED_KEY = b"release_promoted"


@dataclass(frozen=True, slots=True)
class ActiveReleases:
    """The set that every commit is checked against."""

    live: RegisteredRelease
    candidate: RegisteredRelease | None = None
    previous: RegisteredRelease | None = None

    @property
    def all(self) -> tuple[RegisteredRelease, ...]:
        """The live one first."""
        return tuple(r for r in (self.live, self.candidate, self.previous) if r is not None)


@dataclass(frozen=True, slots=True)
class Names:
    """The row in force, as it is."""

    live: str
    candidate: str | None
    previous: str | None
    announced: str | None

    @property
    def all(self) -> tuple[str, ...]:
        """Those in force, the live one first."""
        return tuple(n for n in (self.live, self.candidate, self.previous) if n is not None)


def read_active_releases(database: Database) -> ActiveReleases:
    """The set in force; ConfigurationError where no release is live yet."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT r.name, r.digest, r.backbone, r.manifest, r.gate, "
            "f.live, f.candidate, f.previous FROM lalafo.active_releases AS f "
            "JOIN lalafo.releases AS r ON r.name IN (f.live, f.candidate, f.previous)"
        )
        rows = cursor.fetchall()
    if not rows:
        raise ConfigurationError(
            "no release is live: nothing can score ads. `lalafo demo` makes and installs one; "
            "`lalafo releases install starter` installs the shipped one."
        )
    known = {row[0]: RegisteredRelease(*row[:5]) for row in rows}
    live, candidate, previous = rows[0][5:]
    return ActiveReleases(known[live], known.get(candidate), known.get(previous))


def read_announced(database: Database) -> RegisteredRelease | None:
    """The release that is to come in force soon, if any."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT r.name, r.digest, r.backbone, r.manifest, r.gate "
            "FROM lalafo.active_releases AS f JOIN lalafo.releases AS r ON r.name = f.announced"
        )
        row = cursor.fetchone()
        return None if row is None else RegisteredRelease(*row)


def activate(database: Database, name: str) -> None:
    """Make a release live as it is, without gate, candidate or completeness.

    For the first release of an installation. Whatever is stored is owed: `rescore` brings it up.
    """
    with database.cursor() as cursor:
        try:
            cursor.execute(
                "INSERT INTO lalafo.active_releases (live) VALUES (%s) "
                "ON CONFLICT (one_row) DO UPDATE SET live = EXCLUDED.live, candidate = NULL, "
                "previous = NULL, announced = NULL, changed_at = now()",
                (name,),
            )
        except psycopg.errors.ForeignKeyViolation as error:
            raise ConfigurationError(
                f"no release named {name}; `lalafo releases` lists those that are known"
            ) from error
        open_days(cursor, name)
        _note(cursor, "installed", name)


def announce(database: Database, name: str) -> None:
    """Ask sessions to load a release that will come in force; changes nothing else."""
    with database.cursor() as cursor:
        _locked(cursor)
        cursor.execute("UPDATE lalafo.active_releases SET announced = %s", (name,))


def propose(database: Database, name: str) -> None:
    """Score a release beside the live one from now on: every ad committed after this has both.

    What was committed before is owed, day by day, and the re-score brings it. Again is a no-op.

    Raises:
        NotReadyError: its gate has not let it through, or another candidate is in force.
    """
    with database.cursor() as cursor:
        names = _locked(cursor)
        if name == names.candidate:
            return
        if name in names.all:
            raise NotReadyError(f"{name} is in force already: it is live, or was before")
        if names.candidate is not None:
            raise NotReadyError(
                f"{names.candidate} is the candidate, and there is one at a time: promote it, or "
                f"`lalafo releases withdraw {names.candidate}`"
            )
        _require_passed(cursor, name, names.live)
        ensure_partition(cursor, name)  # upkeep may have removed it
        cursor.execute(
            "UPDATE lalafo.active_releases SET candidate = %s, announced = NULL, "
            "changed_at = now()",
            (name,),
        )
        open_days(cursor, name)
        _note(cursor, "proposed", name)


def withdraw(database: Database, name: str) -> None:
    """Score a candidate no longer; its rows stay until upkeep removes them. Again is a no-op."""
    with database.cursor() as cursor:
        names = _locked(cursor)
        if names.announced == name:
            cursor.execute("UPDATE lalafo.active_releases SET announced = NULL")
        if names.candidate == name:
            cursor.execute("UPDATE lalafo.active_releases SET candidate = NULL, changed_at = now()")
            _note(cursor, "withdrawn", name)


def promote(
    database: Database, name: str, *, scored_topic: str, allow_partial: bool = False
) -> tuple[date, ...]:
    """Flip what readers read to the candidate, in one transaction; what was live is `previous`.

    Returns the days that were still owed; none unless `allow_partial`.

    Raises:
        NotReadyError: it is not the candidate, or days are owed and `allow_partial` is not set.
    """
    with database.cursor() as cursor:
        names = _locked(cursor)
        if name == names.live:
            raise NotReadyError(f"{name} is live already")
        if name != names.candidate:
            raise NotReadyError(
                f"{name} is not the candidate ({names.candidate or 'there is none'}): "
                f"`lalafo rescore {name}` makes it one, and scores the catalogue with it"
            )
        _require_passed(cursor, name, names.live)
        unscored = _require_complete(cursor, name, allow_partial=allow_partial)
        cursor.execute(
            "UPDATE lalafo.active_releases SET live = candidate, previous = live, "
            "candidate = NULL, changed_at = now()"
        )
        _record_switch(cursor, "promoted", name, names.live, unscored, scored_topic)
        return unscored


def rollback(
    database: Database, *, scored_topic: str, allow_partial: bool = False
) -> tuple[str, tuple[date, ...]]:
    """Flip back to the release that was live before; what is live now becomes `previous`.

    Returns the release that is live now, and the days that it owes.

    Raises:
        NotReadyError: there is none to go back to, or it owes days (photos were mended since).
    """
    with database.cursor() as cursor:
        names = _locked(cursor)
        if names.previous is None:
            raise NotReadyError(
                "no release to go back to: none was live before, or upkeep has removed it "
                "(LALAFO_KEEP_SUPERSEDED_DAYS)"
            )
        unscored = _require_complete(cursor, names.previous, allow_partial=allow_partial)
        cursor.execute(
            "UPDATE lalafo.active_releases SET live = previous, previous = live, changed_at = now()"
        )
        _record_switch(cursor, "rolled_back", names.previous, names.live, unscored, scored_topic)
        return names.previous, unscored


def retire_previous(database: Database, *, after_days: float) -> str | None:
    """Score what was live before no longer, once its time to go back is over; its name."""
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.active_releases AS f SET previous = NULL "
            "FROM lalafo.active_releases AS before WHERE f.previous IS NOT NULL "
            "AND (SELECT max(changed_at) FROM lalafo.release_changes "
            "WHERE kind NOT IN ('installed', 'proposed', 'withdrawn', 'retired')) "
            "< now() - make_interval(secs => %s) "
            "RETURNING before.previous",
            (after_days * 86_400,),
        )
        row = cursor.fetchone()
        if row is None:
            return None
        _note(cursor, "retired", row[0])
        return str(row[0])


def _locked(cursor: Cursor) -> Names:
    """The row, exclusively, until the transaction ends."""
    cursor.execute(
        "SELECT live, candidate, previous, announced FROM lalafo.active_releases FOR UPDATE"
    )
    row = cursor.fetchone()
    if row is None:
        raise ConfigurationError(
            "no release is live yet: `lalafo releases install` makes the first one live"
        )
    return Names(*row)


def _require_passed(cursor: Cursor, name: str, live: str) -> None:
    cursor.execute("SELECT gate FROM lalafo.releases WHERE name = %s", (name,))
    row = cursor.fetchone()
    if row is None:
        raise ConfigurationError(
            f"no release named {name}; `lalafo releases` lists those that are known"
        )
    if row[0] is None:
        raise NotReadyError(f"{name} was not judged yet: `lalafo releases check {name}`")
    if row[0]["against"] != live:
        raise NotReadyError(
            f"{name} was judged against {row[0]['against']}, and {live} is live: "
            f"`lalafo releases check {name}`"
        )
    if not row[0]["passed"]:
        raise NotReadyError(f"{name} did not pass its gate: {'; '.join(row[0]['why'])}")


def _require_complete(cursor: Cursor, name: str, *, allow_partial: bool) -> tuple[date, ...]:
    unscored = unscored_days(cursor, name)
    if unscored and not allow_partial:
        first, last = unscored[0].isoformat(), unscored[-1].isoformat()
        raise NotReadyError(
            f"{len(unscored)} days are not scored under {name} yet ({first} to {last}): "
            f"`lalafo rescore {name}` scores them; with `--allow-partial` their ads have no values"
        )
    return unscored


def _record_switch(
    cursor: Cursor,
    kind: str,
    name: str,
    was_live: str,
    unscored: Sequence[date],
    scored_topic: str,
) -> None:
    """Note a flip, and owe its one event to whoever reads `ads.scored`."""
    days = [day.isoformat() for day in unscored]
    _note(cursor, kind, name, was_live, {"unscored_days": days})
    event = promoted_event(name, instead_of=was_live, unscored_days=days)
    outbox.put(cursor, scored_topic, PROMOTED_KEY, event)


def _note(
    cursor: Cursor,
    kind: str,
    name: str,
    instead_of: str | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    cursor.execute(
        "INSERT INTO lalafo.release_changes (kind, release, instead_of, details) "
        "VALUES (%s, %s, %s, %s)",
        (kind, name, instead_of, Jsonb(details or {})),
    )
