"""Records that the project's own publisher does not write, on a real broker."""

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
    folder = server.log_file.parent / "data" / f"{topic}-{partition}"
    (segment,) = folder.glob("*.log")
    at = segment.read_bytes().index(value)
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(bytes([value[0] ^ 1]))
