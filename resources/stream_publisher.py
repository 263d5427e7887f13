"""Write to Kafka: acknowledged by every in-sync replica, in order, without doubles by retries.

Decides that nothing counts as published before `flush` or a result says so. Refuses to know what
the bytes mean.
"""

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from ops.errors import RetryableError
from resources.stream_connection import (
    REQUEST_TIMEOUT_S,
    StreamConfig,
    broker_errors,
    open_client,
)

ADS_MAX_BYTES = 2**20
"""The largest record on `ads`, with its key and headers: Kafka's default limit for a topic."""

DLQ_MAX_BYTES = 2 * ADS_MAX_BYTES
"""The largest record on `ads.dlq`: the original bytes of any refused record, and its reasons."""

_DELIVERY_S = 30.0  # after that a record that the broker never took fails
_LINGER_MS = 2
_BATCH_BYTES = 64 * 2**10


class Publication:
    """One record on its way."""

    def __init__(self, config: StreamConfig, future: Any) -> None:
        self._config = config
        self._future = future

    @property
    def done(self) -> bool:
        """Whether it was acknowledged or has failed."""
        return bool(self._future.is_done)

    def result(self, timeout_s: float) -> tuple[int, int]:
        """Wait for the acknowledgement: the record's partition and offset.

        Raises:
            RetryableError: not acknowledged in time; it may be still.
            ConfigurationError: the broker refuses it, for its size or the topic's rules.
        """
        with broker_errors(self._config, "publishing"):
            told = self._future.get(timeout_s)
        return int(told.partition), int(told.offset)


class StreamPublisher:
    """A writer to any topic; safe to use from several threads. Close it, or use it in a `with`."""

    def __init__(self, config: StreamConfig) -> None:
        """Raises RetryableError where no broker answers."""
        from kafka import KafkaProducer

        self._config = config
        self._failures: list[BaseException] = []
        self._producer: Any = open_client(
            config,
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

    def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        *,
        partition: int | None = None,
    ) -> Publication:
        """Send a record soon and return at once; records of a key stay in order.

        Raises:
            RetryableError: the topic's partitions can't be had, or the buffer stays full.
            ConfigurationError: larger than any topic takes, or the topic is refused.
        """
        with broker_errors(self._config, f"publishing to {topic}"):
            future = self._producer.send(
                topic, value=value, key=key, headers=list(headers), partition=partition
            )
        future.add_errback(self._failures.append)
        return Publication(self._config, future)

    def partitions_for(self, topic: str) -> list[int]:
        """The topic's partitions, ascending; a broker that makes topics on first use makes it."""
        with broker_errors(self._config, f"asking for the topic {topic}"):
            return sorted(self._producer.partitions_for(topic))

    def flush(self, timeout_s: float) -> None:
        """Wait until all that was published is acknowledged; at once where nothing was.

        Raises:
            RetryableError: a record since the last flush failed, or some are not acknowledged
                yet. Those may still arrive: publishing them again doubles them, which revisions
                make harmless.
            ConfigurationError: the broker refused a record for good.
        """
        with broker_errors(self._config, "publishing"):
            self._producer.flush(timeout_s)
            failures, self._failures = self._failures, []
            if failures != []:
                raise failures[0]

    def close(self, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Send what waits, then let go of the connections; repeats do nothing.

        Raises:
            RetryableError: something was not acknowledged in time; it is given up.
        """
        from kafka.errors import KafkaTimeoutError

        try:
            self._producer.close(timeout_s)
        except KafkaTimeoutError as error:
            # kafka-python 3.0.12 gives up closing where its flush times out: thread and sockets
            # would stay, and its __del__ would raise.
            self._producer._sender.force_close()
            self._producer._sender.join(timeout_s)
            self._producer._closed = True
            raise RetryableError(
                f"Kafka at {self._config.bootstrap} (LALAFO_KAFKA_BOOTSTRAP): not all that was "
                f"published was acknowledged in {timeout_s:.0f} s."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An error on the way out says more than one about what it left unsent.
        with contextlib.suppress(*((RetryableError,) if error is not None else ())):
            self.close()
