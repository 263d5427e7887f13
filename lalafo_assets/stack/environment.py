"""What a stack's processes are told, and how much of each kind may run at once. Pure."""

from collections.abc import Mapping

EMBEDDED_STREAM = "embedded-"  # how a stream id of the embedded broker begins


def pool_limits(sessions: int) -> dict[str, int]:
    """How many ops of each pool may run at once: a handover needs each session's place twice."""
    from resources.dagster.names import POOL_BACKFILL, POOL_STREAM  # brings Dagster

    return {POOL_STREAM: 2 * sessions + 1, POOL_BACKFILL: 1}


def external_kafka(environment: Mapping[str, str]) -> dict[str, str]:
    """The exports of a Kafka that somebody else runs; {} where none is named.

    An embedded broker's exports, left in a shell or in this process by an earlier stack, name none:
    that broker ended with its stack.
    """
    if environment.get("LALAFO_KAFKA_BOOTSTRAP", "") == "":
        return {}
    if environment.get("LALAFO_STREAM_ID", "").startswith(EMBEDDED_STREAM):
        return {}
    names = ("LALAFO_KAFKA_BOOTSTRAP", "LALAFO_KAFKA_API_VERSION", "LALAFO_STREAM_ID")
    return {name: environment[name] for name in names if name in environment}


def gateway_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the stack's gateway is told beside the rest: it listens on loopback, so that it asks for
    no keys unless the environment says that it shall."""
    return {"LALAFO_GATEWAY_AUTH": environment.get("LALAFO_GATEWAY_AUTH", "off")}
