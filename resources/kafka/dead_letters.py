"""Publishes dead letters to the topic `ads.dlq`, with their original bytes and the reason.

The commit stage publishes them before the commit that advances past their offsets. The same commit
writes each as a row of `failures` (`resources/sessions/commit.py`), from which `lalafo dlq` reads
and replays them.
"""

from collections.abc import Sequence

from ops.outcomes import DeadLetter
from resources.kafka.topics import StreamPublisher

FLUSH_TIMEOUT_S = 10.0


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
            record, failure = letter.record, letter.failure
            headers = {
                "reason": failure.reason.value,
                "detail": failure.detail,
                "topic": record.topic,
                "partition": str(record.partition),
                "offset": str(record.offset),
                "timestamp_ms": str(record.timestamp_ms),
            }
            self.publisher.publish(
                self.topic,
                key=record.key,
                value=record.value,
                headers=tuple((name, text.encode()) for name, text in headers.items()),
            )
        self.publisher.flush(FLUSH_TIMEOUT_S)
