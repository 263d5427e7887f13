"""Records that the project's own publisher does not write, on a real broker."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import confluent_kafka

from lalafo_assets.bench.kafka.server import KafkaServer


def confluent(bootstrap: str, **options: object) -> confluent_kafka.Producer:
    """A producer of librdkafka, with options by its names (dots written as underscores)."""
    named = {name.replace("_", "."): value for name, value in options.items()}
    return confluent_kafka.Producer({"bootstrap.servers": bootstrap, **named})


class OddKey(str):
    """A header's key whose bytes are not UTF-8."""

    def encode(self, *_: Any) -> bytes:
        return b"tr\xff"


def damage_on_disk(server: KafkaServer, topic: str, partition: int, value: bytes) -> None:
    """Change one byte of a stored record, as a failing disk does; its checksum stays."""
    segment = _segment(server, topic, partition)
    _overwrite(segment, segment.read_bytes().index(value), bytes([value[0] ^ 1]))


@contextmanager
def header_damaged_on_disk(
    server: KafkaServer, topic: str, partition: int, value: bytes, *, at: int, new: bytes
) -> Iterator[None]:
    """Overwrite bytes at a place in the header of the batch that has this value, then repair them.

    Kafka would not start again with some of them.
    """
    segment = _segment(server, topic, partition)
    place = _start_of_batch(segment, value) + at
    old = segment.read_bytes()[place : place + len(new)]
    _overwrite(segment, place, new)
    try:
        yield
    finally:
        _overwrite(segment, place, old)


def truncate_on_disk(server: KafkaServer, topic: str, partition: int, value: bytes) -> None:
    """End the log before the batch that has this value, as an election of a laggard does."""
    segment = _segment(server, topic, partition)
    start = _start_of_batch(segment, value)
    with segment.open("r+b") as file:
        file.truncate(start)


def _segment(server: KafkaServer, topic: str, partition: int) -> Path:
    (segment,) = (server.log_file.parent / "data" / f"{topic}-{partition}").glob("*.log")
    return segment


def _overwrite(segment: Path, at: int, new: bytes) -> None:
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(new)


def _start_of_batch(segment: Path, value: bytes) -> int:
    data, start = segment.read_bytes(), 0
    while True:
        end = start + 12 + struct.unpack_from(">i", data, start + 8)[0]
        if value in data[start:end]:
            return start
        start = end
