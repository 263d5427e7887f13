"""Publish records to Kafka and return a result for each: acknowledged, or an error.

A record that the broker rejects permanently does not fail the others. Does not depend on what the
records contain. Does not call the publisher's `flush`: with a shared publisher, that would consume
the failures of other callers.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.kafka.topics import Publication, StreamPublisher


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def publish_acknowledged(
    publisher: StreamPublisher, records: Sequence[Outgoing], *, within_s: float
) -> list[LalafoError | None]:
    """Publish all records and wait for the acknowledgements, `within_s` seconds at most.

    Returns:
        For each record, in input order: None if it was acknowledged; ConfigurationError if it is
        rejected permanently; RetryableError if the broker is unavailable (it may still arrive).
    """
    deadline = time.monotonic() + within_s
    answers = _publish(publisher, records, deadline)
    if len(records) > 1 and any(isinstance(answer, ConfigurationError) for answer in answers):
        # kafka-python 3.0.12 fails all records in flight together with the one that the broker
        # rejected. Published one by one, each gets its own result.
        for number in [n for n, answer in enumerate(answers) if answer is not None]:
            answers[number] = _publish(publisher, [records[number]], deadline)[0]
            if isinstance(answers[number], RetryableError):
                break  # the broker is unavailable: the others keep their first result
    return answers


def _publish(
    publisher: StreamPublisher, records: Sequence[Outgoing], deadline: float
) -> list[LalafoError | None]:
    answers: list[LalafoError | None] = [None] * len(records)
    in_flight: list[tuple[int, Publication]] = []
    for number, record in enumerate(records):
        try:
            publication = publisher.publish(record.topic, record.key, record.value, record.headers)
            in_flight.append((number, publication))
        except ConfigurationError as error:
            answers[number] = error
        except RetryableError as error:  # each further record would wait as long for the same error
            answers[number:] = [error] * (len(records) - number)
            break
    for number, publication in in_flight:
        try:
            publication.result(max(0.0, deadline - time.monotonic()))
        except (ConfigurationError, RetryableError) as error:
            answers[number] = error
    return answers
