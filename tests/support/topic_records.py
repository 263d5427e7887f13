"""Reading a topic from its beginning to its end, for tests that look at what was published."""

import time

from ops.types import StreamRecord
from resources.kafka.topics import AdStream

PATIENCE_S = 20.0


def everything_on(stream: AdStream, topic: str) -> list[StreamRecord]:
    """Every record that the topic holds now, partition by partition."""
    begins, ends = stream.beginning_offsets(topic), stream.end_offsets(topic)
    wanted = sum(ends[p] - begins[p] for p in ends)
    records: list[StreamRecord] = []
    with stream.consumer(topic) as consumer:
        consumer.assign(begins)
        deadline = time.monotonic() + PATIENCE_S
        while len(records) < wanted and time.monotonic() < deadline:
            records += consumer.poll(max_records=1_000, timeout_s=0.2)
    return sorted(records, key=lambda record: (record.partition, record.offset))
