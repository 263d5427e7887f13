"""The work after a commit, in a background thread: announcements on `ads.scored`, commit times,
per-minute statistics, and group offsets for lag tools.

No ad waits for this thread. No result depends on it: a session that dies leaves its announcements
in the outbox, where the next relay finds them.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import structlog

from ops.errors import LalafoError, RetryableError
from ops.events.traceparent import headers_of
from ops.isolation import describe, divided
from ops.outcomes import Batch, CommitResult, OutboxMessage
from ops.types import AdEvent
from resources.kafka.delivery import Outgoing, publish_acknowledged
from resources.kafka.outbox import relay
from resources.kafka.topics import AdStream, StreamPublisher
from resources.postgres.database import Database
from resources.sessions.commits.observed import write_observed
from resources.sessions.minutes import MinuteTally

MAX_QUEUED_COMMITS = 2_000
"""Commits in the queue; the records of further ones stay in the outbox until the relay sends them.
"""

LEFT_BEHIND_S = 5.0
_RELAY_EVERY_S = 1.0
_RELAY_ROWS = 1_000
_GROUP_EVERY_S = 0.5
_MINUTES_EVERY_S = 1.0
_ACKNOWLEDGED_WITHIN_S = 10.0

log = structlog.get_logger()


class AfterCommit:
    """Processes one session's commits; a context manager that finishes the queue on exit.

    Args:
        publisher: the session's publisher; shared with other threads.
        run_id: the session's run, under which the per-minute statistics are stored.
    """

    def __init__(
        self, database: Database, stream: AdStream, publisher: StreamPublisher, *, run_id: str
    ) -> None:
        self.database = database
        self.stream = stream
        self.publisher = publisher
        self._commits: deque[tuple[Batch, CommitResult]] = deque()
        self._changed = threading.Condition()
        self._done = False
        self._minutes = MinuteTally(database, run_id)
        self._relayed_at = self._group_at = self._minutes_at = 0.0
        self._offsets: dict[int, int] = {}
        self._published: list[int] = []  # acknowledged by Kafka, and still in the outbox
        self._thread = threading.Thread(target=self._run, name="session-after", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._done = True
            self._changed.notify()
        self._thread.join()

    def committed(self, batch: Batch, result: CommitResult) -> None:
        """Queue a commit; returns at once."""
        with self._changed:
            if len(self._commits) < MAX_QUEUED_COMMITS:
                self._commits.append((batch, result))
            else:
                self._minutes.add(batch, result)  # the outbox does not store statistics
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._commits or self._done, _RELAY_EVERY_S)
                commits, ended = list(self._commits), self._done
                self._commits.clear()
            self._process(commits, last=ended)
            self._count(commits, last=ended)
            if ended:
                return

    def _process(self, commits: Sequence[tuple[Batch, CommitResult]], *, last: bool) -> None:
        try:
            divided(commits, self._announce, self._leave_behind)
            if self._published and (last or not commits):
                self._write_observed(())
            self._commit_group_offsets(
                {p: o for batch, _ in commits for p, o in batch.next_offsets.items()}, last
            )
            if time.monotonic() - self._relayed_at > _RELAY_EVERY_S:
                self._relayed_at = time.monotonic()
                relay(self.database, self.publisher, older_than_s=LEFT_BEHIND_S, limit=_RELAY_ROWS)
        except LalafoError as error:
            # Pending records stay in the outbox; commit times that were not written stay null.
            log.warning("session.publishing_failed", error=str(error))
        except Exception as error:  # noqa: BLE001 - the thread must go on with later commits
            log.error("session.publishing_crashed", error=describe(error))

    def _leave_behind(self, commit: tuple[Batch, CommitResult], error: BaseException) -> tuple[()]:
        """Leave the records of one commit in the outbox, for the relay; the others go on."""
        batch, _ = commit
        places = sorted({(receipt.partition, receipt.offset) for receipt in batch.receipts})
        log.error("session.publishing_crashed", error=describe(error), offsets=places[:20])
        return ()

    def _count(self, commits: Sequence[tuple[Batch, CommitResult]], *, last: bool) -> None:
        """Update the per-minute statistics, after the announcements, which clients wait for."""
        try:
            for commit in commits:
                self._add_to_minutes(*commit)
            if last or time.monotonic() - self._minutes_at > _MINUTES_EVERY_S:
                self._minutes_at = time.monotonic()
                self._minutes.write()
        except LalafoError as error:
            log.warning("session.minutes_failed", error=str(error))
        except Exception as error:  # noqa: BLE001 - as above
            log.error("session.minutes_crashed", error=describe(error))

    def _add_to_minutes(self, batch: Batch, result: CommitResult) -> None:
        try:
            self._minutes.add(batch, result)
        except Exception as error:  # noqa: BLE001 - the other commits are counted
            log.error("session.minutes_crashed", error=describe(error), events=batch.events)

    def _announce(self, commits: Sequence[tuple[Batch, CommitResult]]) -> tuple[()]:
        messages = [message for _, result in commits for message in result.messages]
        seen = [
            (ad.event, result.committed_at)
            for batch, result in commits
            for ad in batch.ads
            if ad.event.key in result.accepted
        ]
        if messages or seen:
            self._write_observed(seen)  # before Kafka: clients wait for it
            self._published += self._publish(messages)
        return ()

    def _publish(self, messages: Sequence[OutboxMessage]) -> list[int]:
        """Publish records; return the ids of those that were acknowledged."""
        records = [Outgoing(m.topic, m.key, m.value, headers_of(m.traceparent)) for m in messages]
        answers = publish_acknowledged(self.publisher, records, within_s=_ACKNOWLEDGED_WITHIN_S)
        errors = [error for error in answers if error is not None]
        if errors:
            log.warning("session.publishing_failed", records=len(errors), error=str(errors[0]))
        return [m.id for m, error in zip(messages, answers, strict=True) if error is None]

    def _write_observed(self, seen: Sequence[tuple[AdEvent, datetime]]) -> None:
        """Write the commit times, and delete what was published since the last call."""
        published, self._published = self._published, []
        try:
            with self.database.statement() as cursor:
                write_observed(cursor, seen, published)
        except BaseException:
            self._published += published
            raise

    def _commit_group_offsets(self, offsets: Mapping[int, int], last: bool) -> None:
        self._offsets.update(offsets)
        if self._offsets and (last or time.monotonic() - self._group_at > _GROUP_EVERY_S):
            self._group_at = time.monotonic()
            offsets, self._offsets = self._offsets, {}
            try:
                self.stream.commit_group_offsets(offsets)
            except RetryableError as error:
                log.warning("session.group_offsets_failed", error=str(error))
