"""What a session's stages share: the queues between them, its counts, and how it waits.

Decides that an outage is waited out with back-off wherever it is met, and can be seen meanwhile.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import structlog

from ops.errors import RetryableError
from ops.outcomes import Batch, CommitResult
from ops.scoring.ads import AdScorer, LoadedAd, Scored
from ops.session.admission import Admission, AdWork, SettledWork
from ops.session.ports import SessionPolicy, SessionPorts
from ops.session.stage_queue import Handoff
from ops.session.tally import Tally

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()


class SessionEnded(Exception):
    """The session ended while a stage waited."""


@dataclass(slots=True, eq=False)
class LoadedWork:
    """An ad that waits for the model."""

    work: AdWork
    ad: LoadedAd
    since: float  # monotonic seconds


@dataclass(frozen=True, slots=True, eq=False)
class ScoredWork:
    """Ads of one call of the model, that wait for the commit."""

    loaded: tuple[LoadedWork, ...]
    scored: Scored
    releases: tuple[str, ...]


class SessionState:
    """One session's; every method is safe from any stage."""

    def __init__(self, ports: SessionPorts, policy: SessionPolicy, scorer: AdScorer) -> None:
        self.ports = ports
        self.policy = policy
        self.scorer = scorer  # replaced by the commit stage alone
        self.admission = Admission(policy.most_photos)
        self.loaded: Handoff[LoadedWork] = Handoff()
        self.scored: Handoff[ScoredWork | SettledWork] = Handoff()
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self.last_seen = time.monotonic()
        self.away: dict[str, float] = {}  # what is waited for, and since when
        self._tallies = threading.Lock()
        self._total, self._recent = Tally(), Tally()

    def end(self, error: BaseException | None = None) -> None:
        """Wake every stage for good; the first error counts."""
        if self.error is None:
            self.error = error
        self.ended.set()
        self.loaded.close()
        self.scored.close()

    def count(self, batch: Batch, result: CommitResult) -> None:
        """Add a committed batch to the tallies."""
        with self._tallies:
            self._total.add(batch, result)
            self._recent.add(batch, result)

    def recent(self) -> Tally:
        """What was done since the last call."""
        with self._tallies:
            recent, self._recent = self._recent, Tally()
            return recent

    @property
    def total(self) -> Tally:
        """Everything done; read it once the stages have ended."""
        return self._total

    def persist(self, what: str, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The act's result, once the infrastructure lets it through.

        Raises:
            RetryableError: it stayed away for longer than the policy's `outage_s`.
            SessionEnded: the session ended meanwhile.
        """
        waits = self.waits(what)
        while True:
            try:
                result = act(*args, **kwargs)
            except RetryableError as error:
                self.ended.wait(next(waits)(error))
                if self.ended.is_set():
                    raise SessionEnded from error
            else:
                self.away.pop(what, None)
                return result

    def waits(self, what: str) -> Iterator[Callable[[RetryableError], float]]:
        """Per failure: tell it, and get the seconds to wait; the error again after `outage_s`."""
        policy = self.policy
        started, wait_s = time.monotonic(), policy.first_wait_s

        def message(error: RetryableError) -> float:
            away_s = time.monotonic() - started
            self.away.setdefault(what, started)
            if away_s > policy.outage_s:
                raise error
            log.warning("session.waiting", for_=what, error=str(error), away_s=round(away_s, 1))
            # Jitter, so that sessions do not come back in step.
            return wait_s * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret

        while True:
            yield message
            wait_s = min(wait_s * 2, policy.longest_wait_s)

    @contextmanager
    def stage(self) -> Iterator[None]:
        """A stage's thread: its error ends the session."""
        try:
            yield
        except SessionEnded:
            return
        except BaseException as error:  # noqa: BLE001 - the thread's edge; `run` raises it
            log.error("session.stage_failed", error=repr(error))
            self.end(error)
