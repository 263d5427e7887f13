"""What a stack's processes are told, and how much of each kind may run at once. Pure."""

from collections.abc import Mapping

from ops.asset_names import POOL_BACKFILL, POOL_STREAM

EMBEDDED_STREAM = "embedded-"  # how a stream id of the embedded broker begins

# What every process that computes is started with.
TUNING = {
    # glibc would give each batch's buffers back to the kernel: +35 to +65 % photos/s without.
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    # OpenBLAS wakes a thread a core for a head's small product, and they spin: 10 ms of processor
    # time a batch of 32 photos, with one thread 0.2.
    "OPENBLAS_NUM_THREADS": "1",
}


def pool_limits(sessions: int) -> dict[str, int]:
    """How many ops of each pool may run at once: a handover needs each session's place twice."""
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
