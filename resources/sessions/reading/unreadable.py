"""What a session does about records that can't be decoded: an incident, an alert, and the policy.

Such records stop their partition (`resources/kafka/records/stopped.py`). After a few attempts they
are kept as a row in `failures` and reported, and then skipped if the setting says so.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from ops.errors import LalafoError, Reason
from resources.kafka.consumer import StreamConsumer
from resources.kafka.records.batches import UnreadableBatch
from resources.postgres.database import Database
from resources.sessions.reading.incidents import Forgets, Incident, record_incident
from resources.settings import Settings
from resources.webhook import post_json

ATTEMPTS = 3
"""After so many, over two or three seconds, the records count as unreadable."""

_WEBHOOK_ATTEMPTS = 3
_SKIPPED = "LALAFO_UNREADABLE_BATCH=skip: they were skipped."
_STOPPED = (
    "The partition is not read on until they can be read. Install what is missing, or set "
    "LALAFO_UNREADABLE_BATCH=skip to go on without them."
)
_PASSED = "The broker sends them no more: reading went on behind them."
_REPAIR = (
    "The partition is not read on. Repair the broker's log, or delete its records up to an offset "
    "that it can read (kafka-delete-records.sh): reading continues there."
)

log = structlog.get_logger()


def subject_of(batch: UnreadableBatch, stream_id: str) -> str:
    """Return the subject of the batch's incident."""
    return f"{stream_id}/{batch.topic}/{batch.partition}/{batch.offset}"


class UnreadableRecords:
    """The unreadable records that one session meets.

    Args:
        counted: called once for each incident.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        stream_id: str,
        run_id: str,
        counted: Callable[[Reason], None],
    ) -> None:
        self._database = database
        self._skip = settings.unreadable_batch == "skip"
        self._webhook_url = settings.failure_webhook_url
        self._stream_id = stream_id
        self._run_id = run_id
        self._counted = counted
        self._passed: list[UnreadableBatch] = []
        self._recorded: set[tuple[int, int]] = set()

    def follow(self, consumer: StreamConsumer) -> None:
        """Record what the consumer could not decode, and skip it where that is the policy.

        Raises:
            RetryableError: PostgreSQL is unavailable; nothing was skipped.
        """
        self._passed += consumer.passed()
        while self._passed:
            self._record_once(self._passed[-1], _PASSED)
            self._passed.pop()
        for partition, stopped in consumer.stopped().items():
            if stopped.attempts >= ATTEMPTS:
                batch, skips = stopped.batch, self._skips(stopped.batch)
                follows = _REPAIR if batch.by_broker else _SKIPPED if skips else _STOPPED
                self._record_once(batch, follows, skipped=skips)
                if skips:
                    consumer.skip(partition)

    def _skips(self, batch: UnreadableBatch) -> bool:
        """Whether to go on behind it; nothing says where that is if the broker can't read it."""
        return self._skip and not batch.by_broker

    def _record_once(self, batch: UnreadableBatch, follows: str, *, skipped: bool = False) -> None:
        if (batch.partition, batch.offset) not in self._recorded:
            self._record(batch, f"{batch}. {follows}", skipped=skipped)
            self._recorded.add((batch.partition, batch.offset))

    def _record(self, batch: UnreadableBatch, detail: str, *, skipped: bool) -> None:
        log.error(
            "stream.batch_unreadable",
            **{"topic": batch.topic, "partition": batch.partition, "offset": batch.offset},
            **{
                "next_offset": batch.next_offset,
                "reason": batch.reason,
                "skipped": self._skips(batch),
            },
        )
        incident = Incident(
            Reason.STREAM_BATCH_UNREADABLE,
            subject_of(batch, self._stream_id),
            detail,
            *(batch.topic, batch.partition, batch.offset),
            original=batch.data,
        )
        is_new = record_incident(
            self._database,
            incident,
            stream_id=self._stream_id,
            run_id=self._run_id,
            forgets=Forgets.NONE,
        )
        self._counted(Reason.STREAM_BATCH_UNREADABLE)
        if is_new and self._webhook_url != "":  # every later session meets it again
            threading.Thread(
                target=self._alert, args=(batch, detail), name="stream-alert", daemon=True
            ).start()

    def _alert(self, batch: UnreadableBatch, detail: str) -> None:
        body = {
            **{"run_id": self._run_id, "error": detail, "at": datetime.now(UTC).isoformat()},
            **{"topic": batch.topic, "kafka_partition": batch.partition},
            **{"offset": batch.offset, "next_offset": batch.next_offset},
        }
        try:
            post_json(self._webhook_url, body, attempts=_WEBHOOK_ATTEMPTS)
        except LalafoError as error:
            log.error("stream.alert_failed", error=str(error))
