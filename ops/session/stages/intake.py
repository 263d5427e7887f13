"""The intake: polls the session's partitions, parses events, and admits them.

Owns the assignment and the release of partitions, and back-pressure: it does not poll while too
many photos are in process. Reads one record at a time where sessions died (`careful.py`).
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ops.events.traceparent import traceparent_of
from ops.isolation import divided
from ops.outcomes import DeadLetter, Receipt
from ops.session.admission import AdWork, Ownership, SettledWork, Work
from ops.session.careful import CarefulPartitions, quarantine
from ops.session.ports import PartitionAssigned
from ops.session.state import SessionState
from ops.types import StreamRecord

NAME = "session-intake"

Begin = Callable[[Iterable[AdWork]], None]


class IntakeStage:
    """Polls the session's partitions, parses events, and admits them while there is room."""

    def __init__(self, state: SessionState, begin: Begin, drop_stale: Callable[[], None]) -> None:
        self.state = state
        self._begin = begin
        self._drop_stale = drop_stale
        self._positions: dict[int, int] = {}  # the next offset to poll
        self._revoked: dict[int, float] = {}  # the deadline for work in process, by partition
        self._started: dict[int, datetime] = {}  # since when partitions are read that had waited
        self._pending: deque[Work] = deque()  # read, and not admitted yet
        self._careful = CarefulPartitions()
        self._alone = False  # whether a record that is read carefully may still be in process

    def run(self) -> None:
        state = self.state
        while not state.ended.is_set():
            state.beats.beat(NAME)
            self._apply_membership_changes()
            self._release_revoked()
            if state.ports.membership.left and not state.admission.owned():
                state.end()
                return
            self._step()

    def _step(self) -> None:
        """Admit or read what is next; returns after `poll_timeout_s` at the latest."""
        admission, wait_s = self.state.admission, self.state.policy.poll_timeout_s
        if self._alone:
            self._alone = not admission.wait_until_empty(wait_s)
        elif not admission.wait_for_room(0):
            admission.wait_for_room(wait_s)
        elif self._pending:
            self._admit()
        elif self._careful.waiting:
            if admission.wait_until_empty(wait_s):
                self._read_alone(*self._careful.waiting.popleft())
                self._admit()
        else:
            self._poll()

    def _apply_membership_changes(self) -> None:
        """Start to read assigned partitions, and stop to read revoked ones."""
        changes = self.state.ports.membership.changes()
        if not changes:
            return
        assigned = set()
        for change in changes:
            if isinstance(change, PartitionAssigned):
                self._begin(self.state.admission.add_partition(change.owner))
                self._drop_stale()
                self._positions[change.owner.partition] = change.offset
                self.state.last_seen = time.monotonic()
                self._revoked.pop(change.owner.partition, None)  # it was lost and acquired again
                self._started.pop(change.owner.partition, None)
                if change.waited:
                    self._started[change.owner.partition] = datetime.now(UTC)
                assigned.add(change.owner.partition)
                continue
            partition = change.partition
            grace_s = 0.0 if change.lost else self.state.policy.grace_s
            deadline = time.monotonic() + grace_s
            self._revoked[partition] = min(deadline, self._revoked.get(partition, deadline))
            self._positions.pop(partition, None)
        self._pending = deque(work for work in self._pending if self._is_current(work.owner))
        if assigned:
            policy, quarantine_port = self.state.policy, self.state.ports.quarantine
            readings = self.state.retry(
                "leases", quarantine_port.read, assigned, policy.careful_records
            )
            self._careful.follow(assigned, readings)
        self.state.retry("kafka", self.state.ports.stream.assign, dict(self._positions))

    def _is_current(self, owner: Ownership) -> bool:
        """Whether the session reads the partition, under the epoch of this ownership."""
        return (
            owner.partition in self._positions
            and self.state.admission.owner(owner.partition) == owner
        )

    def _release_revoked(self) -> None:
        """Release revoked partitions once their work is committed or the grace period is over."""
        for partition, deadline in list(self._revoked.items()):
            admission = self.state.admission
            if admission.busy(partition) and time.monotonic() < deadline:
                continue
            del self._revoked[partition]
            self._begin(admission.remove_partition(partition))
            self._drop_stale()
            self.state.retry("leases", self.state.ports.membership.release, partition)

    def _poll(self) -> None:
        policy = self.state.policy
        if not self._positions:
            self.state.ended.wait(policy.poll_timeout_s / 5)
            return
        records = self.state.retry(
            "kafka",
            self.state.ports.stream.poll,
            max_records=policy.max_records,
            timeout_s=policy.poll_timeout_s,
        )
        if records:
            self.state.last_seen = time.monotonic()
            self._positions.update({record.partition: record.offset + 1 for record in records})
            at_once = self._set_aside(records)
            self._pending.extend(self._read(at_once) if at_once else ())
        self._pass_over({record.partition for record in records})
        self._admit()

    def _pass_over(self, read: Collection[int]) -> None:
        """Advance the offsets of partitions past what holds no event, so that their lag is 0.

        Args:
            read: partitions with events in this poll: their offsets advance anyway.
        """
        for partition, offset in self.state.ports.stream.positions().items():
            owner, known = self.state.admission.owner(partition), self._positions.get(partition)
            if partition in read or owner is None or known is None or offset <= known:
                continue
            self._positions[partition] = offset
            now = datetime.now(UTC)
            receipt = Receipt("", partition, offset - 1, now.date(), now, now, False)
            self._pending.append(SettledWork(receipt, owner, no_event=True))

    def _set_aside(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        """Keep the records that must be read one at a time for later; returns the others.

        With one record of a partition, all that follow it in this poll wait: they must be admitted
        in the order of their offsets.
        """
        careful = {record.partition for record in records if self._careful.claims(record)}
        for record in records:
            owner = self.state.admission.owner(record.partition)
            if record.partition in careful and owner is not None:
                self._careful.waiting.append((record, owner))
        return [r for r in records if r.partition not in careful] if careful else records

    def _read_alone(self, record: StreamRecord, owner: Ownership) -> None:
        """Read one record, to be admitted now; nothing else is until it is committed."""
        if self._careful.must_quarantine(record):
            self._pending.append(quarantine(record, _receipt(record, datetime.now(UTC)), owner))
        else:
            self.state.retry("leases", self.state.ports.quarantine.attempt, owner, record.offset)
            if self._is_current(owner):
                self._pending.extend(self._read([record]))
        self._alone = True
        self.state.last_seen = time.monotonic()

    def _read(self, records: Sequence[StreamRecord]) -> list[Work]:
        return divided(records, self._parse, self._refuse)

    def _parse(self, records: Sequence[StreamRecord]) -> list[Work]:
        with self.state.ports.tracing.batch("intake", _traceparents(records)):
            return self._parse_all(records)

    def _parse_all(self, records: Sequence[StreamRecord]) -> list[Work]:
        ports, now = self.state.ports, datetime.now(UTC)
        read = [(record, ports.reader.read(record, now)) for record in records]
        events = [item[0] for _, item in read if not isinstance(item, DeadLetter)]
        stale = self.state.retry("revisions", ports.revisions, events) if events else set()
        works: list[Work] = []
        for record, item in read:
            owner = self.state.admission.owner(record.partition)
            if owner is None:
                continue
            if isinstance(item, DeadLetter):
                works.append(SettledWork(item.receipt, owner, item))
            elif (item[0].key, item[0].revision) in stale:
                works.append(SettledWork(item[1], owner))
            else:
                event, receipt = item
                started = self._started.get(record.partition)
                if started is not None and receipt.kafka_at < started:
                    receipt = replace(receipt, waited_for_session=True)
                works.append(AdWork(event, receipt, owner, record))
        self.state.faults.passed("intake")
        return works

    def _refuse(self, record: StreamRecord, error: BaseException) -> list[Work]:
        """The record as a dead letter, because reading it raised an error."""
        owner = self.state.admission.owner(record.partition)
        if owner is None:
            return []
        place = (record.partition, record.offset)
        failure = self.state.faults.failure("intake", place, error)
        receipt = _receipt(record, datetime.now(UTC))
        return [SettledWork(receipt, owner, DeadLetter(record, receipt, failure))]

    def _admit(self) -> None:
        admission = self.state.admission
        while self._pending and admission.wait_for_room(0):
            work = self._pending.popleft()
            ready = admission.admit(work)
            if isinstance(work, SettledWork):
                self.state.scored.put(work)
            elif ready is not None:
                self._begin([ready])


def _receipt(record: StreamRecord, now: datetime) -> Receipt:
    """A receipt that takes nothing of the record but its place."""
    return Receipt(
        *(record.topic, record.partition, record.offset),
        day=now.date(),
        kafka_at=now,
        received_at=now,
        timestamp_trusted=False,
    )


def _traceparents(records: Sequence[StreamRecord]) -> Iterator[str]:
    return (traceparent_of(record.headers) for record in records)
