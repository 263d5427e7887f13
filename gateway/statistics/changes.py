"""What changed or broke in a window of time: of releases, sessions, re-scores and the topic.

Nothing is recorded for this: every change follows from rows that others wrote for their own needs.
Sessions are known for a day, as long as their rows are kept. Does no I/O but its queries; the
tables that it reads are small.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.schemas.ads import Source
from gateway.schemas.history import ChangeOut

MAX_CHANGES = 500
SHORTEST_OUTAGE = timedelta(seconds=5)
"""A restarted session takes a moment; a handover leaves no gap."""

SESSIONS = """
    SELECT run_id, code_version, started_at, least(expires_at, clock_timestamp()),
        expires_at <= clock_timestamp() AND state <> 'leaving'
    FROM lalafo.sessions WHERE topic = %(topic)s ORDER BY started_at LIMIT 5000"""
RELEASES = """
    SELECT kind, release, instead_of, changed_at FROM lalafo.release_changes
    WHERE changed_at >= %(since)s ORDER BY id DESC LIMIT %(most)s"""
RESCORES = """
    SELECT release, attempt, started_at, finished_at, state FROM lalafo.rescores
    WHERE started_at >= %(since)s OR finished_at >= %(since)s LIMIT %(most)s"""
INCIDENTS = """
    SELECT subject, detail, failed_at, run_id FROM lalafo.failures
    WHERE kind = 'stream' AND failed_at >= %(since)s ORDER BY failed_at DESC LIMIT %(most)s"""

_RELEASE_TITLES = {
    "installed": "Release installed",
    "proposed": "Candidate proposed",
    "withdrawn": "Candidate withdrawn",
    "promoted": "Release promoted",
    "rolled_back": "Release rolled back",
    "taken_back": "Release rolled back",  # as rows of older versions have it
    "retired": "Previous release retired",
}


@dataclass(frozen=True, slots=True)
class Links:
    """The links of runs and releases into Dagster's UI; None without a Dagster URL."""

    runs: str | None
    releases: str | None

    def run(self, run_id: str) -> Source:
        """The link of a run."""
        return Source(id=run_id, url=None if self.runs is None else self.runs + run_id)

    def release(self, name: str) -> Source:
        """The link of a release."""
        return Source(id=name, url=self.releases)


@dataclass(frozen=True, slots=True)
class Session:
    """A row of SESSIONS: a session that ran from `started_at` to `seen_at`, or still runs."""

    run_id: str
    code_version: str
    started_at: datetime
    seen_at: datetime
    died: bool  # it ended without leaving


def session_changes(
    sessions: Sequence[Session], links: Links, now: datetime
) -> Iterator[ChangeOut]:
    """New code versions, deaths and outages, from sessions in the order of their start."""
    for before, session in zip((None, *sessions), sessions, strict=False):
        if before is not None and before.code_version != session.code_version:
            yield _change(
                session.started_at,
                "code_version",
                f"Code version {session.code_version[:12]}",
                detail=f"before: {before.code_version[:12]}",
                run=links.run(session.run_id),
            )
        if session.died:
            yield _change(
                session.seen_at,
                "session_died",
                "A session died",
                detail="It ended without releasing its partitions: the run's log has the cause.",
                run=links.run(session.run_id),
            )
    yield from _outages(sessions, now)


def _outages(sessions: Sequence[Session], now: datetime) -> Iterator[ChangeOut]:
    """The times between sessions; none before the first known one."""
    if not sessions:
        return
    covered = sessions[0].seen_at
    for session in sessions[1:]:
        if session.started_at - covered >= SHORTEST_OUTAGE:
            yield _outage(covered, session.started_at)
        covered = max(covered, session.seen_at)
    if now - covered >= SHORTEST_OUTAGE:
        yield _outage(covered, None)


def _outage(at: datetime, until: datetime | None) -> ChangeOut:
    detail = "Ads that came in this time waited in Kafka."
    return _change(at, "outage", "No session ran", detail=detail, until=until)


def release_change(row: Sequence[Any], links: Links) -> ChangeOut:
    """A row of RELEASES as a change."""
    kind, release, instead_of, at = row
    return _change(
        at,
        "rolled_back" if kind == "taken_back" else kind,
        _RELEASE_TITLES[kind],
        detail=f"instead of {instead_of}" if instead_of else "",
        release=links.release(release),
    )


def rescore_changes(row: Sequence[Any], links: Links) -> Iterator[ChangeOut]:
    """A row of RESCORES as its start and its end."""
    release, attempt, started_at, finished_at, state = row
    more = {"detail": f"attempt {attempt}", "release": links.release(release)}
    if started_at is not None:
        yield _change(started_at, "rescore_started", "Re-score started", **more)
    if finished_at is not None:
        title = "Re-score done" if state == "done" else "Re-score cancelled"
        yield _change(finished_at, "rescore_finished", title, **more)


def incident(row: Sequence[Any], links: Links) -> ChangeOut:
    """A row of INCIDENTS as a change."""
    subject, detail, at, run_id = row
    return _change(at, "incident", f"Incident on {subject}", detail=detail, run=links.run(run_id))


def in_window(changes: Sequence[ChangeOut], since: datetime) -> list[ChangeOut]:
    """The changes that happened or lasted since then, newest first, at most MAX_CHANGES."""
    within = [
        one
        for one in changes
        if one.at >= since or (one.kind == "outage" and (one.until is None or one.until >= since))
    ]
    return sorted(within, key=lambda one: one.at, reverse=True)[:MAX_CHANGES]


def _change(at: datetime, kind: Any, title: str, **more: Any) -> ChangeOut:
    fields = {"until": None, "detail": "", "run": None, "release": None, **more}
    return ChangeOut(at=at, kind=kind, title=title, **fields)
