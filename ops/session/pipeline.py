"""The session: ads flow through four stages side by side, until it is told to leave.

    intake   polls Kafka, reads events, admits them       (a thread)
    photos   fetches, checks, stores and decodes          (an event loop, and its decoders)
    model    embeds and predicts what has queued          (a thread)
    commit   writes what has queued, offsets with it      (a thread)

Decides the order in which a session lives and ends. What makes a loss impossible is in the stages:
dead letters are out before the commit that steps over them, and offsets move in the commit itself.
What is in flight is bounded where it comes in, so Kafka waits, not memory. Knows neither who
started it nor what Kafka and PostgreSQL are: its ports do.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ops.session.photo_stage import Photos
from ops.session.ports import SessionPolicy, SessionPorts
from ops.session.stages import Commit, Intake, Model
from ops.session.state import SessionState
from ops.session.tally import Tally

_LOOK_S = 0.05
_GRACEFUL_SHUTDOWN_S = 5.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session at one moment, for metrics and people."""

    partitions: Mapping[int, int]  # ours, with their epochs
    events_in_flight: int  # read and not committed
    photos_in_flight: int
    ads_at_photos: int
    ads_at_model: int
    batches_at_commit: int
    waiting_for_s: Mapping[str, float]  # what is away, and for how long


class Session:
    """One session; `run` once."""

    def __init__(
        self,
        ports: SessionPorts,
        policy: SessionPolicy,
        *,
        report: Callable[[Tally], None],
        keep_going: Callable[[], bool] = lambda: True,
    ) -> None:
        """Loads the releases in force; raises what that raises.

        Args:
            report: called by `run`'s own thread, with what was done since the last report.
            keep_going: False where the session shall end politely.
        """
        self.ports = ports
        self.policy = policy
        self.state = SessionState(ports, policy, ports.scorer())
        self._report = report
        self._keep_going = keep_going
        self._photos = Photos(self.state)

    def run(self) -> Tally:
        """Work until told to leave, then end in order; everything done, as one tally.

        An exception in the caller's thread (an interrupt) ends it in the same order first.

        Raises:
            RetryableError: an outage outlasted `policy.outage_s`.
        """
        state, begin = self.state, self._photos.begin
        stages = {
            "photos": self._photos.run,
            "intake": Intake(state, begin, self._photos.drop_stale).run,
            "model": Model(state, begin).run,
            "commit": Commit(state, begin).run,
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
            self._tell()
        if state.error is not None:
            raise state.error
        return state.total

    def snapshot(self) -> Snapshot:
        """How things are now; from any thread."""
        state, now = self.state, time.monotonic()
        return Snapshot(
            partitions=state.admission.owned(),
            events_in_flight=state.admission.events,
            photos_in_flight=state.admission.photos,
            ads_at_photos=len(self._photos),
            ads_at_model=len(state.loaded),
            batches_at_commit=len(state.scored),
            waiting_for_s={what: now - since for what, since in dict(state.away).items()},
        )

    def _run_stage(self, run: Callable[[], None]) -> None:
        with self.state.stage():
            run()

    def _watch(self) -> None:
        """Look after the stages, and tell what they did."""
        policy, state, told_at = self.policy, self.state, time.monotonic()
        asked_at: float | None = None
        while not state.ended.wait(_LOOK_S):
            now = time.monotonic()
            if not self._keep_going() or self._idle(now):
                self.ports.membership.leave()
                asked_at = now if asked_at is None else asked_at
            if asked_at is not None and now - asked_at > _GRACEFUL_SHUTDOWN_S:
                return  # something is away: what was begun is read again by the next session
            if now - told_at >= policy.report_every_s:
                self._tell()
                told_at = now

    def _idle(self, now: float) -> bool:
        """Whether nothing came for too long; one that stands by waits for its turn."""
        idle_s, state = self.policy.idle_s, self.state
        if idle_s is None or now - state.last_seen < idle_s:
            return False
        return bool(state.admission.owned()) and state.admission.events == 0

    def _tell(self) -> None:
        recent = self.state.recent()
        if recent.events:
            self._report(recent)
