"""The session loop: drain a stream, batch by batch, until told to stop or nothing is left.

Decides the order of things that makes a loss impossible: dead letters are out before the commit
that steps over them, offsets move in the commit itself, and Kafka's own group offsets (for lag
tools) follow. Knows neither who started it nor what Kafka and PostgreSQL are: its ports do.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

import structlog

from ops.errors import ReleaseChangedError, RetryableError
from ops.outcomes import Batch, CommitResult, DeadLetter
from ops.tally import Tally
from ops.types import StreamRecord

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()


class EventStream(Protocol):
    """The partitions that this session owns, from where the last commit left them."""

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]: ...

    def commit_group_offsets(self, next_offsets: Mapping[int, int]) -> None: ...


class DeadLetterQueue(Protocol):
    """Where records go that can't be used; returns when all are safe."""

    def send(self, letters: Sequence[DeadLetter]) -> None: ...


class Results(Protocol):
    """The transaction in which a batch becomes true."""

    def commit(self, batch: Batch) -> CommitResult: ...

    def flush(self) -> None:
        """Write what was left for the next commit; called whenever the stream rests."""


class Scoring(Protocol):
    def score(self, records: Sequence[StreamRecord]) -> Batch: ...


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """How a session works; seconds throughout."""

    max_records: int = 32
    poll_timeout_s: float = 0.1
    idle_s: float = 5.0  # a session that saw nothing for so long is done
    report_every_s: float = 10.0
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    outage_s: float = 900.0  # an outage longer than this ends the session with its error


@dataclass(slots=True)
class Session:
    """One session; `run` once.

    Args:
        scorer: makes the scoring anew whenever the releases in force have changed.
        keep_going: raises where the session must end at once (a lost lease), returns False
            where it should end after this batch (a polite stop).
        report: called off the commit's path with what was done since the last report.
    """

    stream: EventStream
    dead_letters: DeadLetterQueue
    results: Results
    scorer: Callable[[], Scoring]
    keep_going: Callable[[], bool]
    report: Callable[[Tally], None]
    policy: SessionPolicy = field(default_factory=SessionPolicy)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> Tally:
        """Drain the stream; everything done, as one tally.

        Raises:
            LeaseLostError: another session took a partition over; it goes on from our last commit.
            RetryableError: an outage outlasted `policy.outage_s`.
        """
        total, recent = Tally(), Tally()
        scoring = self._persist(self.scorer)
        last_seen = last_report = self.clock()
        while self.keep_going():
            records = self._persist(self._poll)
            if records:
                batch, result, scoring = self._process(records, scoring)
                total.add(batch, result)
                recent.add(batch, result)
                last_seen = self.clock()
            else:
                self._persist(self.results.flush)
                if self.clock() - last_seen >= self.policy.idle_s:
                    break
            if self.clock() - last_report >= self.policy.report_every_s and recent.events:
                self.report(recent)
                recent, last_report = Tally(), self.clock()
        if recent.events:
            self.report(recent)
        return total

    def _poll(self) -> list[StreamRecord]:
        policy = self.policy
        return self.stream.poll(max_records=policy.max_records, timeout_s=policy.poll_timeout_s)

    def _process(
        self, records: Sequence[StreamRecord], scoring: Scoring
    ) -> tuple[Batch, CommitResult, Scoring]:
        while True:
            batch = self._persist(scoring.score, records)
            if batch.dead_letters:
                self._persist(self.dead_letters.send, batch.dead_letters)
            try:
                result = self._persist(self.results.commit, batch)
            except ReleaseChangedError as change:
                log.info("session.release_changed", change=str(change))
                scoring = self._persist(self.scorer)
                continue
            self._follow(batch)
            return batch, result, scoring

    def _follow(self, batch: Batch) -> None:
        """Tell Kafka's lag tools; nothing depends on it, so nothing waits for it."""
        try:
            self.stream.commit_group_offsets(batch.next_offsets)
        except RetryableError as error:
            log.warning("session.group_offsets_failed", error=str(error))

    def _persist(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The act's result, once the infrastructure lets it through."""
        policy = self.policy
        started, wait_s = self.clock(), policy.first_wait_s
        while True:
            try:
                return act(*args, **kwargs)
            except RetryableError as error:
                away_s = self.clock() - started
                if away_s > policy.outage_s or not self.keep_going():
                    raise
                log.warning("session.waiting", error=str(error), away_s=round(away_s, 1))
            # Jitter, so that sessions do not come back in step.
            self.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            wait_s = min(wait_s * 2, policy.longest_wait_s)
