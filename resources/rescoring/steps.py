"""The steps of a re-score before its backfill: announce the release, then make it the candidate.

Does not depend on Dagster.
"""

from dataclasses import dataclass
from enum import StrEnum

import structlog

from ops.errors import NotReadyError
from resources.postgres.database import Database
from resources.releases.active import read_active_releases, read_announced
from resources.releases.promotion import announce, propose
from resources.releases.registry import RegisteredRelease, find_release
from resources.rescoring.attempts import Rescore, mark_cancelled, sessions_without

log = structlog.get_logger()

WARM_WITHIN_S = 60.0
"""A session that has not loaded an announced release by then loads it when it becomes active."""


class Stage(StrEnum):
    """Where a re-score stands after a step."""

    WAITS = "waits"  # there is another candidate
    ANNOUNCED = "announced"  # sessions are loading the release
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a step, with a message for people."""

    stage: Stage
    message: str


def make_candidate(database: Database, row: Rescore, *, announced_s: float | None) -> Step | None:
    """Announce the attempt's release, then make it the candidate.

    Args:
        announced_s: seconds since the announcement; None if that is not known.

    Returns:
        The step that was taken; None once the release is active.
    """
    known, active = find_release(database, row.release), read_active_releases(database)
    if known.name in [release.name for release in active.all]:
        return None
    if active.candidate is not None:
        return Step(
            Stage.WAITS,
            f"{known.name} waits until {active.candidate.name} is promoted or withdrawn",
        )
    announced = read_announced(database)
    try:
        if announced is None or announced.name != known.name:
            _require_gate(known, active.live.name)
            announce(database, known.name)
            return Step(Stage.ANNOUNCED, f"{known.name} is announced: sessions load it")
        not_loaded = sessions_without(database, known.name)
        if not_loaded > 0 and (announced_s is None or announced_s < WARM_WITHIN_S):
            return Step(Stage.ANNOUNCED, f"{not_loaded} sessions are still loading {known.name}")
        propose(database, known.name)
    except NotReadyError as error:
        mark_cancelled(database, row)
        return Step(Stage.CANCELLED, str(error))
    log.info("release.proposed", release=known.name, cold_sessions=not_loaded)
    return None


def _require_gate(known: RegisteredRelease, live: str) -> None:
    """Check what `propose` checks again, before sessions load a release in vain."""
    gate = known.gate
    if gate is None or gate["against"] != live:
        raise NotReadyError(
            f"{known.name} was not judged against {live}: run `lalafo releases check {known.name}`"
        )
    if not gate["passed"]:
        raise NotReadyError(f"{known.name} did not pass its gate: {'; '.join(gate['why'])}")
