"""The settings that each topic of the pipeline is created with, and how an existing one differs.

Does not connect to Kafka: `topics.py` creates and describes topics.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from resources.kafka.connection import StreamConfig
from resources.kafka.publisher import ADS_MAX_BYTES, DLQ_MAX_BYTES

DEFAULT_PARTITIONS = 4
_RECORD_OVERHEAD_BYTES = 12  # Kafka's limit includes its batch header: its default is 1048588
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """One topic, as it should be.

    Args:
        holds: what its records are, in one sentence.
    """

    name: str
    partitions: int
    max_bytes: int
    retention_days: int
    holds: str

    @property
    def configs(self) -> dict[str, str]:
        """Kafka's topic configuration."""
        return {
            "cleanup.policy": "delete",
            "max.message.bytes": str(self.max_bytes + _RECORD_OVERHEAD_BYTES),
            "retention.ms": str(self.retention_days * _DAY_MS),
        }

    def differences(self, found: "FoundTopic") -> list[str]:
        """What is not as it should be, in words; more partitions, bytes or days are fine."""
        different = []
        if found.partitions < self.partitions:
            different.append(f"{found.partitions} partitions, expected {self.partitions}")
        for name, value in self.configs.items():
            current = found.configs.get(name)
            if current is not None and not _enough(name, current, value):
                different.append(f"{name} is {current}, expected {value}")
        return different


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic, as it is. `configs` is empty where the broker has no request for them."""

    partitions: int
    replicas: int
    configs: Mapping[str, str]


def wanted_topics(
    config: StreamConfig, partitions: int = DEFAULT_PARTITIONS
) -> list[TopicSettings]:
    """The four topics of the pipeline.

    Args:
        partitions: of all but `ads.dlq`, which has one.
    """
    ads, scored, feedback = config.ads_topic, config.scored_topic, config.feedback_topic
    return [
        TopicSettings(
            ads, partitions, ADS_MAX_BYTES, 7, "Ads that were created, changed or deleted."
        ),
        TopicSettings(
            feedback, partitions, ADS_MAX_BYTES, 30, "Labels that people gave, from the gateway."
        ),
        TopicSettings(
            scored, partitions, ADS_MAX_BYTES, 7, "Results: an event for each ad that was scored."
        ),
        TopicSettings(
            config.dlq_topic, 1, DLQ_MAX_BYTES, 30, "Records that are no events, with the reason."
        ),
    ]


def _enough(name: str, current: str, wanted: str) -> bool:
    if name == "cleanup.policy":
        return current == wanted
    if name == "retention.ms" and current == "-1":  # kept without end
        return True
    return int(current) >= int(wanted)
