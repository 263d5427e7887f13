"""Records to Kafka, with an answer for each: acknowledged, or why not.

Decides that one record which the broker refuses for good takes no other with it. Refuses to know
what the records mean. The publisher's `flush` is not called: where the publisher is shared, that
would take other people's failures from them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.kafka.topics import Publication, StreamPublisher


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def publish_acknowledged(
    publisher: StreamPublisher, records: Sequence[Outgoing], *, within_s: float
) -> list[LalafoError | None]:
    """Publish them all and wait, for `within_s` at most.

    Returns:
        For each record, in input order: None where it was acknowledged; ConfigurationError where
        it is refused for good; RetryableError where the broker is away (it may still arrive).
    """
    deadline = time.monotonic() + within_s
    answers = _publish(publisher, records, deadline)
    if len(records) > 1 and any(isinstance(answer, ConfigurationError) for answer in answers):
        # kafka-python 3.0.12 fails whatever is under way together with the one record that the
        # broker refused: alone, each gets an answer of its own.
        for number in [n for n, answer in enumerate(answers) if answer is not None]:
            answers[number] = _publish(publisher, [records[number]], deadline)[0]
            if isinstance(answers[number], RetryableError):
                break  # the broker is away: the others have their answer
    return answers


def _publish(
    publisher: StreamPublisher, records: Sequence[Outgoing], deadline: float
) -> list[LalafoError | None]:
    answers: list[LalafoError | None] = [None] * len(records)
    under_way: list[tuple[int, Publication]] = []
    for number, record in enumerate(records):
        try:
            publication = publisher.publish(record.topic, record.key, record.value, record.headers)
            under_way.append((number, publication))
        except ConfigurationError as error:
            answers[number] = error
        except RetryableError as error:  # each further one would wait as long for the same answer
            answers[number:] = [error] * (len(records) - number)
            break
    for number, publication in under_way:
        try:
            publication.result(max(0.0, deadline - time.monotonic()))
        except (ConfigurationError, RetryableError) as error:
            answers[number] = error
    return answers
