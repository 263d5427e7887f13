"""Read a topic from its beginning to its end, for tests that check what was published."""

import time

from ops.types import StreamRecord
from resources.kafka.topics import AdStream

PATIENCE_S = 90.0


def everything_on(stream: AdStream, topic: str) -> list[StreamRecord]:
    """Return every record that is on the topic now, ordered by partition and offset."""
    begins, ends = stream.beginning_offsets(topic), stream.end_offsets(topic)
    count = sum(ends[p] - begins[p] for p in ends)
    records: list[StreamRecord] = []
    with stream.consumer(topic) as consumer:
        consumer.assign(begins)
        deadline = time.monotonic() + PATIENCE_S
        while len(records) < count and time.monotonic() < deadline:
            records += consumer.poll(max_records=1_000, timeout_s=0.2)
    return sorted(records, key=lambda record: (record.partition, record.offset))
