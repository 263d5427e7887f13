"""The session: a pipeline of four concurrent stages that scores ads until it is asked to leave.

    intake   polls Kafka, parses events, admits them               (a thread)
    photos   fetches, checks, stores and decodes photos            (an event loop and decoders)
    model    embeds and predicts the queued ads                    (a thread)
    commit   writes the queued ads and offsets in one transaction  (a thread)

Owns the start and the shutdown of the stages. The stages prevent the loss of events: dead letters
are published before the commit that skips them, and offsets advance in that commit. Admission
limits what is in flight, so that a backlog stays in Kafka and not in memory. Does not depend on
Kafka, PostgreSQL or the process that starts it: the ports connect it to them.
"""

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from ops.session.ports import SessionPolicy, SessionPorts
from ops.session.stages import commit, intake, model, photos
from ops.session.stages.commit import CommitStage
from ops.session.stages.intake import IntakeStage
from ops.session.stages.model import ModelStage
from ops.session.stages.photos import PhotoStage
from ops.session.state import SessionState
from ops.session.tally import Tally

IN_FLIGHT = "ads in process"

_CHECK_EVERY_S = 0.2
_GRACEFUL_SHUTDOWN_S = 3.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a session at one moment, for metrics and reports."""

    partitions: Mapping[int, int]  # the session's partitions, with their epochs
    events_in_flight: int  # admitted and not committed
    photos_in_flight: int
    ads_at_photos: int
    ads_at_model: int
    batches_at_commit: int
    waiting_for_s: Mapping[str, float]  # unavailable dependencies, and for how long
    internal_errors: Mapping[str, int]  # by stage


class Session:
    """One session; call `run` once."""

    def __init__(
        self,
        ports: SessionPorts,
        policy: SessionPolicy,
        *,
        report: Callable[[Tally], None],
        keep_going: Callable[[], bool] = lambda: True,
    ) -> None:
        """Load the active releases; errors of `ports.scorer` are raised to the caller.

        Args:
            report: called in the thread of `run` with the counts since the last report.
            keep_going: returns False to ask for a graceful shutdown.
        """
        self.ports = ports
        self.policy = policy
        self.state = SessionState(ports, policy, ports.scorer())
        self._report = report
        self._keep_going = keep_going
        self._photos = PhotoStage(self.state)
        self._leaving_since: float | None = None  # monotonic seconds

    def run(self) -> Tally:
        """Run until the session leaves, then shut down gracefully.

        An exception in the caller's thread (an interrupt) shuts the session down in the same
        order before it is raised.

        Returns:
            The counts of the whole session.

        Raises:
            RetryableError: an outage lasted longer than `policy.outage_s`.
        """
        state, begin = self.state, self._photos.begin
        stages = {
            photos.NAME: self._photos.run,
            intake.NAME: IntakeStage(state, begin, self._photos.drop_stale).run,
            model.NAME: ModelStage(state, begin).run,
            commit.NAME: CommitStage(state, begin).run,
        }
        threads = [
            threading.Thread(target=self._run_stage, args=(run,), name=name)
            for name, run in stages.items()
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch()
        except BaseException:
            leaving_since = self._leave()
            state.ended.wait(leaving_since + _GRACEFUL_SHUTDOWN_S - time.monotonic())
            raise
        finally:
            state.end()
            self._photos.stop()
            self._join(threads)
            self._send_report()
        if state.error is not None:
            raise state.error
        return state.total

    def snapshot(self) -> Snapshot:
        """The current state. Thread-safe."""
        state, now = self.state, time.monotonic()
        return Snapshot(
            partitions=state.admission.owned(),
            events_in_flight=state.admission.events,
            photos_in_flight=state.admission.photos,
            ads_at_photos=len(self._photos),
            ads_at_model=len(state.loaded),
            batches_at_commit=len(state.scored),
            waiting_for_s={what: now - since for what, since in dict(state.outages).items()},
            internal_errors=state.faults.counts,
        )

    def heartbeats(self) -> dict[Hashable, int]:
        """The number of the last beat of everything at work, for a watchdog. Thread-safe.

        `IN_FLIGHT` stands for the ads in process, and beats whenever one of them or of their photos
        is done: an ad that no stage has any more would block its partition, and no stage would
        hang.
        """
        state = self.state
        beats = state.beats.read()
        if beats and not state.outages and state.admission.events:
            beats[IN_FLIGHT] = state.admission.over + self._photos.came_back
        return beats

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        """Wait for the stages; one that does not end is reported to `SessionPorts.hung`."""
        since = time.monotonic() if self._leaving_since is None else self._leaving_since
        deadline = since + self.policy.shutdown_s
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        hung = [thread.name for thread in threads if thread.is_alive()]
        if hung:
            log.error("session.stages_do_not_end", stages=hung)
            self.ports.hung(hung)
        for thread in threads:
            thread.join()

    def _run_stage(self, run: Callable[[], None]) -> None:
        with self.state.stage():
            run()

    def _watch(self) -> None:
        """Watch for the end of the session, and report the counts at intervals."""
        policy, state, reported_at = self.policy, self.state, time.monotonic()
        while not state.ended.wait(_CHECK_EVERY_S):
            now = time.monotonic()
            if not self._keep_going() or self._idle(now):
                self._leave()
            since = self._leaving_since
            if since is not None and now - since > _GRACEFUL_SHUTDOWN_S:
                return  # a dependency is unavailable: the next session reads these events again
            if now - reported_at >= policy.report_every_s:
                self._send_report()
                reported_at = now

    def _leave(self) -> float:
        """Ask to leave; returns when that was done first."""
        if self._leaving_since is None:
            self._leaving_since = time.monotonic()
        self.ports.membership.leave()
        return self._leaving_since

    def _idle(self, now: float) -> bool:
        """Whether no record came for `policy.idle_s`; False for a standby without partitions."""
        idle_s, state = self.policy.idle_s, self.state
        if idle_s is None or now - state.last_seen < idle_s:
            return False
        return bool(state.admission.owned()) and state.admission.events == 0

    def _send_report(self) -> None:
        recent = self.state.recent()
        if recent.events or recent.admitted:
            self._report(recent)
