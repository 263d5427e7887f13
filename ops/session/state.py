"""The state that the stages of a session share: queues, counts, and retries with back-off.

Every stage retries through an outage of a dependency in the same way, and the outage is visible
in the session's snapshot while it lasts.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import structlog

from ops.errors import RetryableError
from ops.isolation import ItemFaults, SessionEnded
from ops.outcomes import Batch, CommitResult
from ops.scoring.ads import AdScorer, LoadedAd, Scored
from ops.session.admission import Admission, AdWork, SettledWork
from ops.session.heartbeats import Heartbeats
from ops.session.ports import SessionPolicy, SessionPorts
from ops.session.stage_queue import StageQueue
from ops.session.tally import Tally
from ops.types import Failure

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class LoadedWork:
    """An ad that waits for the model, while its new renditions are made durable."""

    work: AdWork
    ad: LoadedAd
    since: float  # monotonic seconds
    stored: Future[None]  # done: the renditions are durable; cancelled: the ad was loaded anew


@dataclass(frozen=True, slots=True, eq=False)
class ScoredWork:
    """Ads scored in one call of the model, that wait for the commit."""

    loaded: tuple[LoadedWork, ...]
    scored: Scored
    releases: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FailedWork:
    """An ad that failed as a whole; the commit makes it a dead letter."""

    work: AdWork
    failure: Failure


Finished = ScoredWork | SettledWork | FailedWork
"""What waits for the commit."""


class SessionState:
    """The state of one session; its methods may be called from the thread of any stage."""

    def __init__(self, ports: SessionPorts, policy: SessionPolicy, scorer: AdScorer) -> None:
        self.ports = ports
        self.policy = policy
        self.scorer = scorer  # replaced by the commit stage alone
        self.admission = Admission(policy.max_photos)
        self.loaded: StageQueue[LoadedWork] = StageQueue()
        self.scored: StageQueue[Finished] = StageQueue()
        self.faults = ItemFaults(policy.failures_in_a_row)
        self.beats = Heartbeats()
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self.last_seen = time.monotonic()
        self.outages: dict[str, float] = {}  # unavailable dependencies, since (monotonic seconds)
        self._tallies = threading.Lock()
        self._total, self._recent = Tally(), Tally()
        self._counted = 0  # of `Admission.over`

    def end(self, error: BaseException | None = None) -> None:
        """End every stage; the first error is the one that `Session.run` raises."""
        if self.error is None:
            self.error = error
        self.ended.set()
        self.loaded.close()
        self.scored.close()

    def count(self, batch: Batch, result: CommitResult) -> None:
        """Add a committed batch to the tallies; called after `Admission.finish`, in one thread."""
        over = self.admission.over
        admitted, self._counted = over - self._counted, over
        with self._tallies:
            for tally in (self._total, self._recent):
                tally.admitted += admitted
                tally.add(batch, result)

    def recent(self) -> Tally:
        """The counts since the last call."""
        with self._tallies:
            recent, self._recent = self._recent, Tally()
            return recent

    @property
    def total(self) -> Tally:
        """The counts of the whole session; read it once the stages have ended."""
        return self._total

    def retry(self, what: str, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `act` until it succeeds, with back-off after each RetryableError.

        Args:
            what: the dependency, as logged and shown in the snapshot.

        Raises:
            RetryableError: the outage lasted longer than the policy's `outage_s`.
            SessionEnded: the session ended in the meantime.
        """
        delays = self.delays(what)
        while True:
            try:
                result = act(*args, **kwargs)
            except RetryableError as error:
                self.beats.beat_again(threading.current_thread().name)
                self.ended.wait(next(delays)(error))
                if self.ended.is_set():
                    raise SessionEnded from error
            else:
                self.outages.pop(what, None)
                return result

    def delays(self, what: str) -> Iterator[Callable[[RetryableError], float]]:
        """One function for each failure: it logs the error and returns the seconds to wait.

        It raises the error again once the outage has lasted longer than `outage_s`.
        """
        policy = self.policy
        started, wait_s = time.monotonic(), policy.first_wait_s

        def delay(error: RetryableError) -> float:
            outage_s = time.monotonic() - started
            self.outages.setdefault(what, started)
            if outage_s > policy.outage_s:
                raise error
            log.warning("session.waiting", for_=what, error=str(error), outage_s=round(outage_s, 1))
            # Jitter, so that sessions do not retry in step.
            return wait_s * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret

        while True:
            yield delay
            wait_s = min(wait_s * 2, policy.longest_wait_s)

    @contextmanager
    def stage(self) -> Iterator[None]:
        """Run a stage's thread in this context: its error ends the session."""
        try:
            yield
        except SessionEnded:
            return
        except BaseException as error:  # noqa: BLE001 - end of the thread; `run` raises it
            log.error("session.stage_failed", error=repr(error))
            self.end(error)
