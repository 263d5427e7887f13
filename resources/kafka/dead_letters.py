"""Publishes dead letters to the topic `ads.dlq`, with their original bytes and the reason.

The commit stage publishes them before the commit that advances past their offsets. The same commit
writes each as a row of `failures` (`resources/sessions/commits/commit.py`), from which `lalafo dlq`
reads and replays them.
"""

from collections.abc import Sequence

from ops.outcomes import DeadLetter
from resources.kafka.publisher import DLQ_MAX_BYTES, record_bytes
from resources.kafka.record_headers import sendable
from resources.kafka.topics import StreamPublisher

FLUSH_TIMEOUT_S = 10.0
ORIGINAL_PREFIX = "original."
"""Before the key of each header of the original record, which may have one named `reason` too."""
OWN_HEADERS = {
    "reason": "The stable code of the fault, such as event_not_json.",
    "detail": "What came and what was expected.",
    "topic": "The topic of the original record.",
    "partition": "Its partition.",
    "offset": "Its offset.",
    "timestamp_ms": "Its timestamp: milliseconds since the epoch, UTC.",
}
LEFT_OUT_HEADERS = {
    "headers_left_out": "How many of the original's headers this record had no room for.",
    "value_bytes_left_out": "The size of the original's value, where there was no room for it.",
    "key_bytes_left_out": "The size of the original's key, where there was no room for it.",
}
"""What is left out here is whole in PostgreSQL (`failures`)."""

_RESERVE_BYTES = 256  # for LEFT_OUT_HEADERS


class DeadLetterTopic:
    """Publishes dead letters: key and value are the original's, everything else is a header."""

    def __init__(self, publisher: StreamPublisher, topic: str) -> None:
        self.publisher = publisher
        self.topic = topic

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Publish the letters and wait until the broker has acknowledged all of them.

        At least once: a call that is repeated after an error publishes all of them again.

        Raises:
            RetryableError: the broker did not acknowledge all of them in FLUSH_TIMEOUT_S.
        """
        for letter in letters:
            key, value, headers = _record(letter)
            self.publisher.publish(self.topic, key=key, value=value, headers=headers)
        self.publisher.flush(FLUSH_TIMEOUT_S)


def _record(letter: DeadLetter) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """The key, value and headers of a letter's record.

    A record that the topic would refuse would stop the session: what has no room is left out.
    """
    record, failure = letter.record, letter.failure
    own = {
        "reason": failure.reason.value,
        "detail": failure.detail,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp_ms": str(record.timestamp_ms),
    }
    headers = [(name, text.encode("utf-8", "backslashreplace")) for name, text in own.items()]
    key, value = record.key, record.value
    most = DLQ_MAX_BYTES - _RESERVE_BYTES
    if key is not None and record_bytes(key, None, headers) > most:
        headers.append(("key_bytes_left_out", b"%d" % len(key)))
        key = None
    if value is not None and record_bytes(key, value, headers) > most:
        headers.append(("value_bytes_left_out", b"%d" % len(value)))
        value = None
    if key is None and value is None:
        value = b""  # kafka-python 3.0.12 sends no record without both; Kafka would take it
    room = most - record_bytes(key, value, headers)
    originals = sendable(record.headers, prefix=ORIGINAL_PREFIX)
    for number, header in enumerate(originals):
        room -= record_bytes(None, None, [header]) - record_bytes(None, None, [])
        if room < 0:
            headers.append(("headers_left_out", b"%d" % (len(originals) - number)))
            break
        headers.append(header)
    return key, value, headers
