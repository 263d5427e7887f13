"""How a release becomes active and live: announce, propose, promote, roll back, withdraw, retire.

Each operation changes the row of active releases in one transaction, under its exclusive lock.
Commits of sessions hold a shared lock on the row (`active.py`), so that there is one moment at
which a release becomes active, and one at which readers switch.
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
from resources.releases.registry import ensure_partition

Cursor = psycopg.Cursor[Any]

PROMOTED_KEY = b"release_promoted"


@dataclass(frozen=True, slots=True)
class Names:
    """The names in the row of active releases."""

    live: str
    candidate: str | None
    previous: str | None
    announced: str | None

    @property
    def all(self) -> tuple[str, ...]:
        """The names of all active releases, the live one first."""
        return tuple(n for n in (self.live, self.candidate, self.previous) if n is not None)


def make_live(database: Database, name: str) -> None:
    """Make a release live at once, without gate, candidate or complete coverage.

    For the first release of an installation. All days with stored ads become unscored days;
    `lalafo rescore` scores them.

    Raises:
        ConfigurationError: there is no release of that name.
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
                f"no release named {name}; `lalafo releases` lists the installed ones"
            ) from error
        open_days(cursor, name)
        _record_change(cursor, "installed", name)


def announce(database: Database, name: str) -> None:
    """Ask sessions to load a release that will become active; changes nothing else."""
    with database.cursor() as cursor:
        _lock_row(cursor)
        cursor.execute("UPDATE lalafo.active_releases SET announced = %s", (name,))


def propose(database: Database, name: str) -> None:
    """Make a release the candidate: every ad committed from now on is scored under it as well.

    The days that have ads already become unscored days, which the re-score completes. Repeating
    the call does nothing.

    Raises:
        NotReadyError: it has not passed its gate, or there is another candidate.
    """
    with database.cursor() as cursor:
        names = _lock_row(cursor)
        if name == names.candidate:
            return
        if name in names.all:
            raise NotReadyError(
                f"{name} is active already: it is the live release or the previous one"
            )
        if names.candidate is not None:
            raise NotReadyError(
                f"{names.candidate} is the candidate, and only one is allowed at a time: promote "
                f"it, or run `lalafo releases withdraw {names.candidate}`"
            )
        _require_passed(cursor, name, names.live)
        ensure_partition(cursor, name)  # upkeep may have dropped it
        cursor.execute(
            "UPDATE lalafo.active_releases SET candidate = %s, announced = NULL, "
            "changed_at = now()",
            (name,),
        )
        open_days(cursor, name)
        _record_change(cursor, "proposed", name)


def withdraw(database: Database, name: str) -> None:
    """Stop scoring the candidate; its rows stay until upkeep removes them.

    Also clears an announcement of the release. Repeating the call does nothing.
    """
    with database.cursor() as cursor:
        names = _lock_row(cursor)
        if names.announced == name:
            cursor.execute("UPDATE lalafo.active_releases SET announced = NULL")
        if names.candidate == name:
            cursor.execute("UPDATE lalafo.active_releases SET candidate = NULL, changed_at = now()")
            _record_change(cursor, "withdrawn", name)


def promote(
    database: Database, name: str, *, scored_topic: str, allow_partial: bool = False
) -> tuple[date, ...]:
    """Make the candidate live in one transaction; the release that was live becomes `previous`.

    Returns:
        The unscored days; none unless `allow_partial`.

    Raises:
        NotReadyError: it is not the candidate; or, without `allow_partial`, it has unscored days,
            or similar ads are searched and the index of its backbone is not ready.
    """
    with database.cursor() as cursor:
        names = _lock_row(cursor)
        if name == names.live:
            raise NotReadyError(f"{name} is live already")
        if name != names.candidate:
            raise NotReadyError(
                f"{name} is not the candidate ({names.candidate or 'there is none'}): "
                f"`lalafo rescore {name}` makes it the candidate and scores the catalogue with it"
            )
        _require_passed(cursor, name, names.live)
        unscored = _require_complete(cursor, name, allow_partial=allow_partial)
        if not allow_partial:
            _require_index(cursor, name, names.live)
        cursor.execute(
            "UPDATE lalafo.active_releases SET live = candidate, previous = live, "
            "candidate = NULL, changed_at = now()"
        )
        _record_switch(cursor, "promoted", name, names.live, unscored, scored_topic)
        return unscored


def rollback(
    database: Database, *, scored_topic: str, allow_partial: bool = False
) -> tuple[str, tuple[date, ...]]:
    """Make the previous release live again; the one that was live becomes `previous`.

    Returns:
        The name of the release that is live now, and its unscored days.

    Raises:
        NotReadyError: there is no previous release, or it has unscored days (photos were repaired
            since) and `allow_partial` is not set.
    """
    with database.cursor() as cursor:
        names = _lock_row(cursor)
        if names.previous is None:
            raise NotReadyError(
                "no release to roll back to: none was live before, or upkeep has retired it "
                "(LALAFO_KEEP_SUPERSEDED_DAYS)"
            )
        unscored = _require_complete(cursor, names.previous, allow_partial=allow_partial)
        cursor.execute(
            "UPDATE lalafo.active_releases SET live = previous, previous = live, changed_at = now()"
        )
        _record_switch(cursor, "rolled_back", names.previous, names.live, unscored, scored_topic)
        return names.previous, unscored


def retire_previous(database: Database, *, after_days: float) -> str | None:
    """Stop scoring the previous release once the time for a rollback is over; return its name.

    Args:
        after_days: days since the last switch of the live release.
    """
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
        _record_change(cursor, "retired", row[0])
        return str(row[0])


def _lock_row(cursor: Cursor) -> Names:
    """Lock the row exclusively until the transaction ends, and return it."""
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
            f"no release named {name}; `lalafo releases` lists the installed ones"
        )
    if row[0] is None:
        raise NotReadyError(
            f"{name} has no verdict of its gate yet: run `lalafo releases check {name}`"
        )
    if row[0]["against"] != live:
        raise NotReadyError(
            f"{name} was judged against {row[0]['against']}, but {live} is live: "
            f"run `lalafo releases check {name}`"
        )
    if not row[0]["passed"]:
        raise NotReadyError(f"{name} did not pass its gate: {'; '.join(row[0]['why'])}")


def _require_complete(cursor: Cursor, name: str, *, allow_partial: bool) -> tuple[date, ...]:
    unscored = unscored_days(cursor, name)
    if unscored and not allow_partial:
        first, last = unscored[0].isoformat(), unscored[-1].isoformat()
        raise NotReadyError(
            f"{len(unscored)} days are not scored under {name} yet ({first} to {last}): run "
            f"`lalafo rescore {name}`; with `--allow-partial` their ads have no predictions"
        )
    return unscored


def _require_index(cursor: Cursor, name: str, live: str) -> None:
    """Require an index of vectors for the release's backbone where there is one for the live one's,
    so that searches for similar ads do not stop with the switch."""
    cursor.execute(
        "SELECT r.backbone FROM lalafo.releases AS r, lalafo.releases AS now "
        "WHERE r.name = %s AND now.name = %s "
        "AND EXISTS (SELECT FROM lalafo.vector_indexes AS i "
        "WHERE i.backbone = now.backbone AND i.state = 'ready') "
        "AND NOT EXISTS (SELECT FROM lalafo.vector_indexes AS i "
        "WHERE i.backbone = r.backbone AND i.state = 'ready')",
        (name, live),
    )
    row = cursor.fetchone()
    if row is not None:
        raise NotReadyError(
            f"the index of similar ads for the backbone {row[0]} of {name} is not ready: the "
            "indexer (LALAFO_SIMILAR_ADS) builds it once all days are scored; with "
            "`--allow-partial` searches have no answer until then"
        )


def _record_switch(
    cursor: Cursor,
    kind: str,
    name: str,
    was_live: str,
    unscored: Sequence[date],
    scored_topic: str,
) -> None:
    """Record a switch of the live release, and put its one event for `ads.scored` in the outbox."""
    days = [day.isoformat() for day in unscored]
    _record_change(cursor, kind, name, was_live, {"unscored_days": days})
    event = promoted_event(name, instead_of=was_live, unscored_days=days)
    outbox.put(cursor, scored_topic, PROMOTED_KEY, event)


def _record_change(
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
