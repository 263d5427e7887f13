"""The load generator of `lalafo bench stream`, in a process of its own.

Publishes each ad when it is due, independently of the others (an open loop), with librdkafka and
`linger.ms` 0, so that a record's timestamp is the moment at which it was sent. Latencies count from
that timestamp, so the generator also reports how late it sent the records.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lalafo_assets.bench.harness.ads import PlannedAd
from lalafo_assets.bench.harness.workers import Worker, read_task, send_answer, wait_for_go
from resources.kafka.connection import StreamConfig
from resources.settings import load_settings

FLUSH_S = 60.0
_SPIN_S = 0.002  # an ad due within this time is sent at once: a sleep is not that precise


def start_load(
    ads: Sequence[PlannedAd],
    *,
    environment: Mapping[str, str],
    topic: str,
    catalog: str,
    host: str,
    log_file: Path,
) -> Worker:
    """Start a load generator, connected and with its ads ready; `Worker.go` starts the load.

    Its last answer has `published`, `refused`, `started_at`, `took_s` and `late_p99_ms`.

    Args:
        environment: names the Kafka; passwords are in this process's environment.
    """
    task = {
        "topic": topic,
        "catalog": catalog,
        "ads": [
            (ad.ad_id, ad.due_s, ad.value(catalog, host).decode())
            for ad in sorted(ads, key=lambda ad: ad.due_s)
        ],
    }
    kafka = {k: v for k, v in environment.items() if k.startswith("LALAFO_KAFKA_")}
    worker = Worker(__name__, task, log_file=log_file, environment=kafka)
    try:
        worker.answer()
    except BaseException:
        worker.stop()
        raise
    return worker


def main() -> None:
    """Read the task, connect, wait for "go", publish, and report the result."""
    from confluent_kafka import Producer

    task = read_task()
    producer = Producer(
        {
            **StreamConfig.from_settings(load_settings()).librdkafka_options(),
            "acks": "all",
            "linger.ms": 0,
            "partitioner": "murmur2_random",  # as in Kafka's Java client
        }
    )
    producer.list_topics(task["topic"], timeout=FLUSH_S)  # connects before the clock starts
    send_answer({"ready": len(task["ads"])})
    wait_for_go()
    send_answer(_publish(producer, task))


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
            except BufferError:  # its queue is full: wait until some are delivered
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
