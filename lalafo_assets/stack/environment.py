"""The environment variables of a stack's processes, and the limits of Dagster's pools."""

from collections.abc import Mapping

EMBEDDED_STREAM = "embedded-"  # how a stream id of the embedded broker begins


def pool_limits(sessions: int) -> dict[str, int]:
    """Return how many ops of each pool may run at once; a handover needs two per session."""
    from resources.dagster.names import POOL_BACKFILL, POOL_STREAM  # brings Dagster

    return {POOL_STREAM: 2 * sessions + 1, POOL_BACKFILL: 1}


def external_kafka(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the exports of the external Kafka that the environment names; {} if it names none.

    The exports of an embedded broker do not count: an earlier stack may have left them in the shell
    or in this process, and that broker ended with its stack.
    """
    if environment.get("LALAFO_KAFKA_BOOTSTRAP", "") == "":
        return {}
    if environment.get("LALAFO_STREAM_ID", "").startswith(EMBEDDED_STREAM):
        return {}
    names = ("LALAFO_KAFKA_BOOTSTRAP", "LALAFO_KAFKA_API_VERSION", "LALAFO_STREAM_ID")
    return {name: environment[name] for name in names if name in environment}


def gateway_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the additional environment of the stack's gateway.

    It listens on loopback, so it requires no API keys unless the environment says otherwise.
    """
    return {"LALAFO_GATEWAY_AUTH": environment.get("LALAFO_GATEWAY_AUTH", "off")}
