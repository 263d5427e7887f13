"""The load generator of `lalafo bench stream`, in a process of its own.

Publishes each ad when it is due, whatever became of the others (an open loop), with librdkafka
without lingering: the record's timestamp is the moment at which it was sent. How late it was
itself is told, since a latency counts from there.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lalafo_assets.bench.harness.ads import PlannedAd
from lalafo_assets.bench.harness.workers import Worker, read_task, tell, wait_for_go

FLUSH_S = 60.0
_SPIN_S = 0.002  # slept up to this long before an ad is due, then polled


def start_load(
    ads: Sequence[PlannedAd],
    *,
    environment: Mapping[str, str],
    topic: str,
    catalog: str,
    host: str,
    log_file: Path,
) -> Worker:
    """A load generator that holds its ads ready; its last answer has `sent_at`, by ad id.

    Args:
        environment: LALAFO_KAFKA_BOOTSTRAP is read.
    """
    message = {
        "bootstrap": environment["LALAFO_KAFKA_BOOTSTRAP"],
        "topic": topic,
        "catalog": catalog,
        "ads": [
            (ad.ad_id, ad.due_s, ad.value(catalog, host).decode())
            for ad in sorted(ads, key=lambda ad: ad.due_s)
        ],
    }
    worker = Worker(__name__, message, log_file=log_file)
    try:
        worker.answer()
    except BaseException:
        worker.stop()
        raise
    return worker


def main() -> None:
    """Be told, connect, wait, publish, and tell what was sent when."""
    from confluent_kafka import Producer

    task = read_task()
    producer = Producer(
        {
            "bootstrap.servers": task["bootstrap"],
            "acks": "all",
            "linger.ms": 0,
            "partitioner": "murmur2_random",  # as Kafka's own clients
        }
    )
    producer.list_topics(task["topic"], timeout=FLUSH_S)  # connected before the clock runs
    tell({"ready": len(task["ads"])})
    wait_for_go()
    tell(_publish(producer, task))


def _publish(producer: Any, task: Mapping[str, Any]) -> dict[str, object]:
    refused: list[str] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            refused.append(str(error))

    late: list[float] = []
    started, clock = time.monotonic(), time.time()
    for ad_id, due_s, value in task["ads"]:
        wait_s = started + due_s - time.monotonic()
        if wait_s > _SPIN_S:
            time.sleep(wait_s)
        key = f"{task['catalog']}/{ad_id}"
        late.append(max(0.0, time.monotonic() - started - due_s))
        while True:
            try:
                producer.produce(task["topic"], value=value, key=key, on_delivery=delivered)
                break
            except BufferError:  # its queue is full: let some be delivered
                producer.poll(0.1)
        producer.poll(0)
    published_s = time.monotonic() - started
    unsent = producer.flush(FLUSH_S)
    late.sort()
    return {
        "published": len(task["ads"]) - len(refused) - unsent,
        "refused": refused[:3],
        "started_at": clock,
        "took_s": published_s,
        "late_p99_ms": late[int(len(late) * 0.99)] * 1000,
    }


if __name__ == "__main__":
    main()
