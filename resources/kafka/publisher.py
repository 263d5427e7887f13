"""A Kafka producer: acknowledged by all in-sync replicas, in order, without duplicates by retries.

A record counts as published only after `flush` or its own result confirms it. Does not depend on
what the bytes contain.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.kafka.connection import REQUEST_TIMEOUT_S, StreamConfig, broker_errors, open_client

ADS_MAX_BYTES = 2**20
"""The largest record on any topic but `ads.dlq`, overhead included: Kafka's default limit."""

DLQ_MAX_BYTES = 2 * ADS_MAX_BYTES
"""The largest record on `ads.dlq`: the original bytes of any rejected record, and its reasons."""

_OVERHEAD_BYTES = 128  # the header of a batch of one record (61) and the record's length fields
_HEADER_OVERHEAD_BYTES = 16
_DELIVERY_S = 30.0  # a record that is not acknowledged by then fails
_LINGER_MS = 2
_BATCH_BYTES = 64 * 2**10


class Publication:
    """One record in flight."""

    def __init__(self, config: StreamConfig, future: Any) -> None:
        self._config = config
        self._future = future

    @property
    def done(self) -> bool:
        """Whether it was acknowledged or has failed."""
        return bool(self._future.is_done)

    def result(self, timeout_s: float) -> tuple[int, int]:
        """Wait for the acknowledgement; return the record's partition and offset.

        Raises:
            RetryableError: not acknowledged in time; it may still be acknowledged later.
            ConfigurationError: the broker rejects it, for its size or the topic's configuration.
        """
        with broker_errors(self._config, "publishing"):
            metadata = self._future.get(timeout_s)
        return int(metadata.partition), int(metadata.offset)

    def then(self, on_answer: Callable[[LalafoError | None], None]) -> None:
        """Call `on_answer` once, from a thread of the client: with None after the acknowledgement,
        else with the error that `result` would raise. At once if the outcome is known already."""

        def failed(error: BaseException) -> None:
            try:
                with broker_errors(self._config, "publishing"):
                    raise error
            except LalafoError as translated:
                on_answer(translated)

        self._future.add_callback(lambda _: on_answer(None))
        self._future.add_errback(failed)


class StreamPublisher:
    """A producer for any topic; thread-safe. Close it, or use it in a `with`."""

    def __init__(self, config: StreamConfig) -> None:
        """Connect; raises RetryableError where no broker answers."""
        self._config = config
        self._failures: list[BaseException] = []
        self._renewal = threading.Lock()
        self._producer: Any = self._open()

    def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        *,
        partition: int | None = None,
    ) -> Publication:
        """Queue a record for sending and return at once; records with the same key stay in order.

        Raises:
            RetryableError: the topic's metadata is not available, or the buffer stays full.
            ConfigurationError: larger than the topic's limit, or the topic is rejected.
        """
        self._check_size(topic, key, value, headers)
        with broker_errors(self._config, f"publishing to {topic}"):
            future = self._usable_producer().send(
                topic, value=value, key=key, headers=list(headers), partition=partition
            )
        future.add_errback(self._failures.append)
        return Publication(self._config, future)

    def partitions_for(self, topic: str) -> list[int]:
        """Return the topic's partitions, ascending; the broker may auto-create the topic."""
        with broker_errors(self._config, f"requesting the metadata of topic {topic}"):
            return sorted(self._producer.partitions_for(topic))

    def flush(self, timeout_s: float) -> None:
        """Wait until all published records are acknowledged; returns at once if there are none.

        Raises:
            RetryableError: a record since the last flush failed, or some are not acknowledged
                yet. Those may still arrive: publishing them again duplicates them, which is
                harmless because of their revisions.
            ConfigurationError: the broker rejected a record permanently.
        """
        with broker_errors(self._config, "publishing"):
            self._producer.flush(timeout_s)
            failures, self._failures = self._failures, []
            if failures != []:
                raise failures[0]

    def close(self, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Send the buffered records, then close the connections; repeated calls do nothing.

        Raises:
            RetryableError: a record was not acknowledged in time; it is dropped.
        """
        with broker_errors(self._config, "sending buffered records before closing"):
            _close(self._producer, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The error that ended the block is more useful than one about records left unsent.
        with contextlib.suppress(*((RetryableError,) if error is not None else ())):
            self.close()

    def _open(self) -> Any:
        from kafka import KafkaProducer

        return open_client(
            self._config,
            KafkaProducer,
            acks="all",
            enable_idempotence=True,
            max_request_size=DLQ_MAX_BYTES,
            max_block_ms=int(REQUEST_TIMEOUT_S * 1000),
            delivery_timeout_ms=int(_DELIVERY_S * 1000),
            linger_ms=_LINGER_MS,
            batch_size=_BATCH_BYTES,
            metrics_enabled=False,
        )

    def _usable_producer(self) -> Any:
        """Return the producer; a new one if the broker has rejected a record permanently.

        With idempotence, kafka-python 3.0.12 fails every later record of that producer too.
        """
        from kafka.errors import KafkaError

        with self._renewal:
            state = self._producer._transaction_manager
            if state is not None and state.has_fatal_error():
                with contextlib.suppress(KafkaError):  # its buffered records have failed already
                    _close(self._producer, 0.0)
                self._producer = self._open()
            return self._producer

    def _check_size(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        """Reject an oversized record: the broker's rejection would fail all records in flight."""
        limit = DLQ_MAX_BYTES if topic == self._config.dlq_topic else ADS_MAX_BYTES
        size = record_bytes(key, value, headers)
        if size > limit:
            raise ConfigurationError(
                f"A record of {size} bytes is larger than {topic} accepts ({limit} bytes): send "
                "less text."
            )


def record_bytes(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
) -> int:
    """The most bytes that a record takes on a topic, overhead included."""
    size = _OVERHEAD_BYTES + sum(len(part) for part in (key, value) if part is not None)
    return size + sum(len(name.encode()) + len(v) + _HEADER_OVERHEAD_BYTES for name, v in headers)


def _close(producer: Any, timeout_s: float) -> None:
    """Close the producer; raises KafkaTimeoutError if records were left unsent."""
    from kafka.errors import KafkaTimeoutError

    try:
        producer.close(timeout_s)
    except KafkaTimeoutError:
        # kafka-python 3.0.12 stops closing when its flush times out: its thread and sockets would
        # stay open, and its __del__ would raise.
        producer._sender.force_close()
        producer._sender.join(REQUEST_TIMEOUT_S)
        producer._closed = True
        raise
