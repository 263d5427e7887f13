"""The pipeline's Kafka topics: creation, partitions, offsets, stream identity, readers and writers.

Owns the identity of a log and the list of topics. Does not depend on the content of records.
Committed offsets are stored in PostgreSQL; the consumer group's are written for lag tools only.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from ops.errors import ConfigurationError, RetryableError
from resources.kafka.connection import StreamConfig, broker_errors, open_client
from resources.kafka.consumer import StreamConsumer
from resources.kafka.publisher import ADS_MAX_BYTES, DLQ_MAX_BYTES, Publication, StreamPublisher
from resources.kafka.rights import Operations, require_rights
from resources.kafka.topic_log import OffsetOutOfLog, OffsetOutOfLogError, TopicLog
from resources.kafka.topic_settings import DEFAULT_PARTITIONS, FoundTopic, wanted_topics
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
    "TopicLog",
]

_NO_TOPIC = 3  # error code UNKNOWN_TOPIC_OR_PARTITION
_NO_TOPIC_ID = "00000000-0000-0000-0000-000000000000"

log = logging.getLogger(__name__)


class AdStream:
    """Access to all topics; connects on first use. Use it in a `with`."""

    def __init__(self, config: StreamConfig) -> None:
        self.config = config
        self._admin_client: Any = None
        self._readers: dict[str, StreamConsumer] = {}
        self._warned = False  # that Kafka has no topic ids

    @classmethod
    def from_settings(cls, settings: Settings) -> "AdStream":
        """Create it from the settings, without connecting.

        Raises:
            ConfigurationError: LALAFO_KAFKA_BOOTSTRAP is not set or is not a list of addresses.
        """
        return cls(StreamConfig.from_settings(settings))

    def stream_id(self) -> str:
        """Return the id of the log to which offsets of the ads topic belong.

        The setting if there is one, else the log's own id.
        """
        return self.config.stream_id if self.config.stream_id != "" else self.current_log().id

    def current_log(self) -> TopicLog:
        """Ask Kafka which log the ads topic is now, and which partitions of it have a leader.

        Its id is "<cluster id>:<topic id>". A broker older than 2.8 has no topic ids: then it is
        "<cluster id>:<topic>", and a topic that is deleted and created again can be recognised by
        its offsets only.
        """
        topic = self.config.ads_topic
        described = self._describe(topic)
        with broker_errors(self.config, "requesting the cluster id"):
            cluster_id = str(self._admin().describe_cluster()["cluster_id"])
        name = str(described.get("topic_id", _NO_TOPIC_ID))
        if name == _NO_TOPIC_ID:
            name = topic
            if not self._warned:
                log.warning("Kafka has no topic ids: the stream id is %s:%s", cluster_id, topic)
            self._warned = True
        led = [p for p in described["partitions"] if p["leader_id"] >= 0]
        return TopicLog(f"{cluster_id}:{name}", _numbers(led))

    def ensure_topics(self, partitions: int = DEFAULT_PARTITIONS) -> None:
        """Create those of the four topics that are missing; existing ones are not changed.

        A user that may not create topics needs the right to describe them only, if all exist.

        librdkafka's test broker does not support this: it auto-creates each topic with 4
        partitions when its metadata is requested.

        Args:
            partitions: of `ads`, `ads.feedback` and `ads.scored`; `ads.dlq` has one.
        """
        from kafka.errors import (
            AuthorizationError,
            IncompatibleBrokerVersion,
            NoError,
            TopicAlreadyExistsError,
            UnknownBrokerIdError,
            for_code,
        )

        topics = {
            topic.name: {
                "num_partitions": topic.partitions,
                "replication_factor": -1,  # the cluster's default
                "configs": topic.configs,
            }
            for topic in wanted_topics(self.config, partitions)
        }
        with broker_errors(self.config, "creating topics"):
            try:
                response = self._admin().create_topics(topics, raise_errors=False)
            except (IncompatibleBrokerVersion, UnknownBrokerIdError):
                # The test broker has no default replication factor, and no controller.
                self._request_metadata(list(topics))
                return
            for result in response["topics"]:
                error = for_code(result["error_code"])
                if issubclass(error, AuthorizationError) and self._exists(result["name"]):
                    continue
                if error not in (NoError, TopicAlreadyExistsError):
                    raise error(f"{result['name']}: {result['error_message']}")
            self._admin().wait_for_topics(list(topics))

    def found_topic(self, topic: str) -> FoundTopic | None:
        """Return a topic as it is; None if there is none."""
        from kafka.admin import ConfigResource, ConfigResourceType

        with broker_errors(self.config, f"describing the topic {topic}"):
            if topic not in self._admin().list_topics():
                return None
            configs: dict[str, Any] = {}
            if not self.config.answers_late:  # the test broker ends the connection instead
                resource = ConfigResource(ConfigResourceType.TOPIC, topic)
                found = self._admin().describe_configs([resource], config_filter="all")
                configs = found["topic"][topic]
        partitions = self._describe(topic)["partitions"]
        return FoundTopic(
            partitions=len(partitions),
            replicas=min(len(partition["replica_nodes"]) for partition in partitions),
            configs={name: str(entry["value"]) for name, entry in configs.items()},
        )

    def _exists(self, topic: str) -> bool:
        described = self._admin().describe_topics([topic])[0]
        return int(described["error_code"]) == 0

    def partitions(self, topic: str | None = None) -> list[int]:
        """Return the topic's partitions, ascending; of `ads` unless another topic is named.

        Raises:
            ConfigurationError: there is no such topic.
        """
        described = self._describe(self.config.ads_topic if topic is None else topic)
        return list(_numbers(described["partitions"]))

    def bounds(
        self, partitions: Collection[int] | None = None, topic: str | None = None
    ) -> dict[int, tuple[int, int]]:
        """Return each partition's first and end offset (exclusive), by one request for each.

        The end offset is that of committed transactions.

        Args:
            partitions: None: all that the topic has now.
        """
        asked = self.partitions(topic) if partitions is None else partitions
        return self._reader(topic).bounds(asked)

    def check_rights(self, needed: Operations) -> None:
        """Ask the broker what this client may do; reads and writes nothing.

        Raises:
            ConfigurationError: its ACLs deny some of it.
        """
        with broker_errors(self.config, "requesting rights"):
            described = self._admin().describe_topics(list(needed))
        require_rights(self.config, described, needed)

    def beginning_offsets(self, topic: str | None = None) -> dict[int, int]:
        """Return each partition's first offset in the log; of `ads` unless another is named."""
        return {partition: first for partition, (first, _) in self.bounds(topic=topic).items()}

    def end_offsets(self, topic: str | None = None) -> dict[int, int]:
        """Return each partition's end offset (exclusive); of `ads` unless another is named."""
        return {partition: end for partition, (_, end) in self.bounds(topic=topic).items()}

    def outside_log(
        self, offsets: Mapping[int, int], topic: str | None = None
    ) -> tuple[OffsetOutOfLog, ...]:
        """Return the positions (partition to next offset) that are outside the log."""
        return self._reader(topic).outside_log(offsets)

    def commit_group_offsets(self, offsets: Mapping[int, int]) -> None:
        """Write next offsets of `ads` to the group `lalafo`, for lag tools; no session reads them.

        Raises:
            RetryableError: the broker rejected one (the first call may find no coordinator yet),
                or its ACLs deny it; the pipeline does not depend on it.
        """
        from kafka import TopicPartition
        from kafka.errors import NoError
        from kafka.structs import OffsetAndMetadata

        topic = self.config.ads_topic
        commits = {
            TopicPartition(topic, p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()
        }
        try:
            with broker_errors(self.config, "writing group offsets"):
                response = self._admin().alter_group_offsets(self.config.group, commits)
        except ConfigurationError as error:
            raise RetryableError(str(error)) from error
        errors = [error for error in response.values() if error is not NoError]
        if errors != []:
            raise RetryableError(f"group offsets of {topic}: {errors[0].__name__}")

    def consumer(self, topic: str | None = None, *, isolates: bool = False) -> StreamConsumer:
        """Open a new consumer, of `ads` unless another topic is named; the caller closes it."""
        name = self.config.ads_topic if topic is None else topic
        return StreamConsumer(self.config, name, isolates=isolates)

    def publisher(self) -> StreamPublisher:
        """Open a new publisher; the caller closes it."""
        return StreamPublisher(self.config)

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        for reader in self._readers.values():
            reader.close()
        self._readers = {}
        if self._admin_client is not None:
            self._admin_client.close()
            self._admin_client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
        from kafka.errors import NoError, for_code

        with broker_errors(self.config, f"describing the topic {topic}"):
            described: dict[str, Any] = self._admin().describe_topics([topic])[0]
            error = for_code(described["error_code"])
            if error is not NoError and described["error_code"] != _NO_TOPIC:
                raise error(topic)  # its partitions and its id are not known yet
        if described["error_code"] == _NO_TOPIC:
            raise ConfigurationError(
                f"Kafka at {self.config.bootstrap} has no topic {topic}. Create it (`lalafo up` "
                "does), or correct LALAFO_ADS_TOPIC or LALAFO_DLQ_TOPIC."
            )
        return described

    def _request_metadata(self, topics: list[str]) -> None:
        """Request each topic's metadata, so that the broker auto-creates it."""
        with self.publisher() as publisher:
            for topic in topics:
                publisher.partitions_for(topic)


def _numbers(partitions: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    return tuple(sorted(int(partition["partition_index"]) for partition in partitions))
