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
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ops.session.photo_stage import PhotoStage
from ops.session.ports import SessionPolicy, SessionPorts
from ops.session.stages import CommitStage, IntakeStage, ModelStage
from ops.session.state import SessionState
from ops.session.tally import Tally

_CHECK_EVERY_S = 0.05
_GRACEFUL_SHUTDOWN_S = 5.0


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
            "photos": self._photos.run,
            "intake": IntakeStage(state, begin, self._photos.drop_stale).run,
            "model": ModelStage(state, begin).run,
            "commit": CommitStage(state, begin).run,
        }
        threads = [
            threading.Thread(target=self._run_stage, args=(run,), name=f"session-{name}")
            for name, run in stages.items()
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch()
        except BaseException:
            self.ports.membership.leave()
            state.ended.wait(_GRACEFUL_SHUTDOWN_S)
            raise
        finally:
            state.end()
            self._photos.stop()
            for thread in threads:
                thread.join()
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
        )

    def _run_stage(self, run: Callable[[], None]) -> None:
        with self.state.stage():
            run()

    def _watch(self) -> None:
        """Watch for the end of the session, and report the counts at intervals."""
        policy, state, reported_at = self.policy, self.state, time.monotonic()
        leaving_since: float | None = None
        while not state.ended.wait(_CHECK_EVERY_S):
            now = time.monotonic()
            if not self._keep_going() or self._idle(now):
                self.ports.membership.leave()
                leaving_since = now if leaving_since is None else leaving_since
            if leaving_since is not None and now - leaving_since > _GRACEFUL_SHUTDOWN_S:
                return  # a dependency is unavailable: the next session reads these events again
            if now - reported_at >= policy.report_every_s:
                self._send_report()
                reported_at = now

    def _idle(self, now: float) -> bool:
        """Whether no record came for `policy.idle_s`; False for a standby without partitions."""
        idle_s, state = self.policy.idle_s, self.state
        if idle_s is None or now - state.last_seen < idle_s:
            return False
        return bool(state.admission.owned()) and state.admission.events == 0

    def _send_report(self) -> None:
        recent = self.state.recent()
        if recent.events:
            self._report(recent)
