"""The steps of a re-score that need no Dagster: its release announced, then made the candidate."""

from dataclasses import dataclass
from enum import StrEnum

import structlog

from ops.errors import NotReadyError
from resources.postgres.database import Database
from resources.releases.active import announce, propose, read_active_releases, read_announced
from resources.releases.registry import RegisteredRelease, find_release
from resources.rescoring.attempts import Rescore, mark_cancelled, sessions_without

log = structlog.get_logger()

WARM_WITHIN_S = 60.0
"""Sessions that have not loaded an announced release by then load it when they meet it."""


class Stage(StrEnum):
    """Where a re-score stands after a step."""

    WAITS = "waits"  # for its turn: another candidate is in force
    ANNOUNCED = "announced"  # sessions load the release
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Step:
    """What a step came to, and in words."""

    stage: Stage
    message: str


def make_candidate(database: Database, row: Rescore, *, announced_s: float | None) -> Step | None:
    """Announce the row's release, then make it the candidate; None once it is in force."""
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
        cold = sessions_without(database, known.name)
        if cold > 0 and (announced_s is None or announced_s < WARM_WITHIN_S):
            return Step(Stage.ANNOUNCED, f"{cold} sessions are still loading {known.name}")
        propose(database, known.name)
    except NotReadyError as error:
        mark_cancelled(database, row)
        return Step(Stage.CANCELLED, str(error))
    log.info("a release is the candidate", release=known.name, cold_sessions=cold)
    return None


def _require_gate(known: RegisteredRelease, live: str) -> None:
    """What `propose` will ask again: told before sessions load a release for nothing."""
    gate = known.gate
    if gate is None or gate["against"] != live:
        raise NotReadyError(
            f"{known.name} was not judged against {live}: `lalafo releases check {known.name}`"
        )
    if not gate["passed"]:
        raise NotReadyError(f"{known.name} did not pass its gate: {'; '.join(gate['why'])}")
