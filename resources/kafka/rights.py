"""What the product does on each topic, and which of it the broker's ACLs deny.

Reads a description of the topics, which every broker since 2.3 completes with the operations that
the client may do; an older one does not say, and nothing counts as denied.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ops.errors import ConfigurationError
from resources.kafka.connection import StreamConfig

_DENIED = 29  # error code TOPIC_AUTHORIZATION_FAILED

Operations = Mapping[str, Sequence[str]]
"""Topic to operations, in the words of `kafka-acls`: Read, Write."""


def session_operations(config: StreamConfig) -> Operations:
    """What a session does."""
    return {config.ads_topic: ["Read"], config.scored_topic: ["Write"], config.dlq_topic: ["Write"]}


def all_operations(config: StreamConfig) -> Operations:
    """What sessions, the gateway and upkeep do."""
    written = {topic: ["Write"] for topic in (config.scored_topic, config.dlq_topic)}
    return {config.ads_topic: ["Read", "Write"], config.feedback_topic: ["Write"], **written}


def require_rights(
    config: StreamConfig, described: Iterable[Mapping[str, Any]], needed: Operations
) -> None:
    """Check what a client may do. A topic that does not exist is left out.

    Args:
        described: the topics, as kafka-python's `describe_topics` returns them.

    Raises:
        ConfigurationError: lists every operation that is denied.
    """
    denied = []
    for topic in described:
        allowed = topic.get("authorized_operations") or []
        for operation in needed[topic["name"]]:
            hidden = topic["error_code"] == _DENIED
            if hidden or (allowed and operation.upper() not in allowed):
                denied.append(f"{operation} on {topic['name']}")
    if denied:
        who = config.access.principal
        raise ConfigurationError(
            f"Kafka at {config.bootstrap} (LALAFO_KAFKA_BOOTSTRAP): the broker's ACLs deny "
            f"{', '.join(sorted(denied))} to {f'the user {who!r}' if who else 'this client'}. "
            "Grant these operations."
        )
