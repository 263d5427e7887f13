"""The product's topics on any Kafka: their identity, partitions, and who reads and writes them.

Decides what names a log, and which topics there are. Refuses to know what an ad is, or where
committed offsets are kept (PostgreSQL has them; the group's are written for lag tools only).
"""

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from ops.errors import ConfigurationError, RetryableError
from resources.kafka.connection import StreamConfig, broker_errors, open_client
from resources.kafka.consumer import OffsetOutOfLog, OffsetOutOfLogError, StreamConsumer
from resources.kafka.publisher import ADS_MAX_BYTES, DLQ_MAX_BYTES, Publication, StreamPublisher
from resources.settings import Settings

__all__ = [
    "ADS_MAX_BYTES",
    "DLQ_MAX_BYTES",
    "AdStream",
    "OffsetOutOfLog",
    "OffsetOutOfLogError",
    "Publication",
    "StreamConfig",
    "StreamConsumer",
    "StreamPublisher",
]

DEFAULT_PARTITIONS = 4
_RECORD_OVERHEAD_BYTES = 12  # Kafka's limit counts its batch header: 1048588 is its own default
_NO_TOPIC = 3  # error code UNKNOWN_TOPIC_OR_PARTITION
_NO_TOPIC_ID = "00000000-0000-0000-0000-000000000000"

log = logging.getLogger(__name__)


class AdStream:
    """The topics as one thing; opens its connections when first asked. Use it in a `with`."""

    def __init__(self, config: StreamConfig) -> None:
        self.config = config
        self._admin_client: Any = None
        self._readers: dict[str, StreamConsumer] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> "AdStream":
        """Raises ConfigurationError where LALAFO_KAFKA_BOOTSTRAP is not set or is no address."""
        return cls(StreamConfig.from_settings(settings))

    def stream_id(self) -> str:
        """Names the log that offsets of the ads topic belong to; another log has another id.

        The setting where there is one, else "<cluster id>:<topic id>". A broker older than 2.8
        has no topic ids: then "<cluster id>:<topic>", and a topic that is deleted and made again
        is not told apart, except by its offsets.
        """
        if self.config.stream_id != "":
            return self.config.stream_id
        topic = self.config.ads_topic
        described = self._describe(topic)
        with broker_errors(self.config, "asking for the cluster id"):
            cluster_id = str(self._admin().describe_cluster()["cluster_id"])
        topic_id = str(described.get("topic_id", _NO_TOPIC_ID))
        if topic_id == _NO_TOPIC_ID:
            log.warning("this Kafka has no topic ids: the stream is named %s:%s", cluster_id, topic)
            return f"{cluster_id}:{topic}"
        return f"{cluster_id}:{topic_id}"

    def ensure_topics(self, partitions: int = DEFAULT_PARTITIONS) -> None:
        """Make the four topics where they are missing; those that exist stay as they are.

        librdkafka's test broker refuses, and makes each with 4 partitions when first asked.

        Args:
            partitions: of `ads`, `ads.feedback` and `ads.scored`; `ads.dlq` has one.
        """
        from kafka.errors import (
            IncompatibleBrokerVersion,
            NoError,
            TopicAlreadyExistsError,
            UnknownBrokerIdError,
            for_code,
        )

        wanted = {
            self.config.ads_topic: _topic(partitions, ADS_MAX_BYTES),
            self.config.feedback_topic: _topic(partitions, ADS_MAX_BYTES),
            self.config.scored_topic: _topic(partitions, ADS_MAX_BYTES),
            self.config.dlq_topic: _topic(1, DLQ_MAX_BYTES),
        }
        with broker_errors(self.config, "making topics"):
            try:
                answer = self._admin().create_topics(wanted, raise_errors=False)
            except (IncompatibleBrokerVersion, UnknownBrokerIdError):
                # The test broker's version knows no default replication, and it has no controller.
                self._ask_for_topics(list(wanted))
                return
            for message in answer["topics"]:
                error = for_code(message["error_code"])
                if error not in (NoError, TopicAlreadyExistsError):
                    raise error(f"{message['name']}: {message['error_message']}")
            self._admin().wait_for_topics(list(wanted))

    def partitions(self, topic: str | None = None) -> list[int]:
        """The topic's partitions, ascending; of `ads` unless another is named.

        Raises:
            ConfigurationError: there is no such topic.
        """
        described = self._describe(self.config.ads_topic if topic is None else topic)
        return sorted(int(p["partition_index"]) for p in described["partitions"])

    def beginning_offsets(self, topic: str | None = None) -> dict[int, int]:
        """Each partition's first offset in the log; of `ads` unless another topic is named."""
        return self._reader(topic).beginning_offsets(self.partitions(topic))

    def end_offsets(self, topic: str | None = None) -> dict[int, int]:
        """Each partition's next offset to be given; of `ads` unless another topic is named."""
        return self._reader(topic).end_offsets(self.partitions(topic))

    def outside_log(
        self, offsets: Mapping[int, int], topic: str | None = None
    ) -> tuple[OffsetOutOfLog, ...]:
        """Those of the positions (partition to next offset) that the log does not have."""
        return self._reader(topic).outside_log(offsets)

    def commit_group_offsets(self, offsets: Mapping[int, int]) -> None:
        """Write next offsets of `ads` to the group `lalafo`, for lag tools; nobody reads them back.

        Raises:
            RetryableError: the broker did not take one (the very first may find no coordinator
                yet); nothing of ours depends on it.
        """
        from kafka import TopicPartition
        from kafka.errors import NoError
        from kafka.structs import OffsetAndMetadata

        topic = self.config.ads_topic
        wanted = {
            TopicPartition(topic, p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()
        }
        with broker_errors(self.config, "writing group offsets"):
            answer = self._admin().alter_group_offsets(self.config.group, wanted)
            refused = [error for error in answer.values() if error is not NoError]
            if refused != []:
                raise RetryableError(f"group offsets of {topic}: {refused[0].__name__}")

    def consumer(self, topic: str | None = None) -> StreamConsumer:
        """A new reader, of `ads` unless another topic is named; the caller closes it."""
        return StreamConsumer(self.config, self.config.ads_topic if topic is None else topic)

    def publisher(self) -> StreamPublisher:
        """A new writer; the caller closes it."""
        return StreamPublisher(self.config)

    def close(self) -> None:
        """Let go of the connections; the next call would open them again."""
        for reader in self._readers.values():
            reader.close()
        self._readers = {}
        if self._admin_client is not None:
            self._admin_client.close()
            self._admin_client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _admin(self) -> Any:
        from kafka import KafkaAdminClient

        if self._admin_client is None:
            self._admin_client = open_client(self.config, KafkaAdminClient)
        return self._admin_client

    def _reader(self, topic: str | None) -> StreamConsumer:
        name = self.config.ads_topic if topic is None else topic
        if name not in self._readers:
            self._readers[name] = self.consumer(name)
        return self._readers[name]

    def _describe(self, topic: str) -> dict[str, Any]:
        with broker_errors(self.config, f"asking for the topic {topic}"):
            described: dict[str, Any] = self._admin().describe_topics([topic])[0]
        if described["error_code"] == _NO_TOPIC:
            raise ConfigurationError(
                f"Kafka at {self.config.bootstrap} has no topic {topic}. Make it (`lalafo up` "
                "does), or mend LALAFO_ADS_TOPIC or LALAFO_DLQ_TOPIC."
            )
        return described

    def _ask_for_topics(self, topics: list[str]) -> None:
        with self.publisher() as publisher:
            for topic in topics:
                publisher.partitions_for(topic)


def _topic(partitions: int, max_bytes: int) -> dict[str, Any]:
    return {
        "num_partitions": partitions,
        "replication_factor": -1,  # the cluster's own default
        "configs": {"max.message.bytes": str(max_bytes + _RECORD_OVERHEAD_BYTES)},
    }
