"""Publishes lines of events to the topic directly.

Lines are not validated: one without a valid `catalog` and `ad_id` is published without a key, and a
session turns it into a dead letter. A line that can't be sent, such as one that is larger than the
topic accepts, is reported and does not stop the others.
"""

import time
from collections.abc import Callable, Iterable

from lalafo_assets.commands.publishing import WHITESPACE, Published, RefusedLine
from ops.errors import BadInputError, ConfigurationError, LalafoError
from ops.events.json_bytes import read_object
from ops.types import AdKey
from resources.kafka.delivery import Outgoing, publish_acknowledged
from resources.kafka.topics import AdStream, Publication, StreamPublisher
from resources.settings import Settings

FLUSH_S = 30.0
IN_FLIGHT_LINES = 500


def publish_to_topic(
    settings: Settings,
    lines: Iterable[bytes],
    *,
    on_progress: Callable[[Published], object] = lambda _: None,
) -> Published:
    """Publish each line that is not blank to the topic, and return the result.

    Raises:
        RetryableError: the broker is unavailable. Lines that were acknowledged stay published.
    """
    done = Published()
    with AdStream.from_settings(settings) as stream, stream.publisher() as publisher:
        topic, in_flight = stream.config.ads_topic, list[_Sent]()
        for number, line in enumerate(lines, start=1):
            value = line.strip(WHITESPACE)
            if value == b"":
                continue
            record = Outgoing(topic, _key(value), value)
            try:
                sent = publisher.publish(topic, key=record.key, value=value)
            except ConfigurationError as error:
                done.refused.append(RefusedLine(number, "not_sent", str(error)))
                continue
            in_flight.append((number, record, sent))
            if len(in_flight) == IN_FLIGHT_LINES:
                _settle(publisher, in_flight, done)
                on_progress(done)
        _settle(publisher, in_flight, done)
        on_progress(done)
    done.refused.sort(key=lambda refused: refused.number)
    return done


_Sent = tuple[int, Outgoing, Publication]


def _settle(publisher: StreamPublisher, in_flight: list[_Sent], done: Published) -> None:
    """Wait for the acknowledgements. One record that the broker rejects fails those in flight with
    it (kafka-python 3.0.12): these are published again, one by one, in their order."""
    deadline = time.monotonic() + FLUSH_S
    failed: list[tuple[int, Outgoing]] = []
    for number, record, sent in in_flight:
        try:
            sent.result(max(0.0, deadline - time.monotonic()))
            done.accepted += 1
        except LalafoError:
            failed.append((number, record))
    in_flight.clear()
    answers = publish_acknowledged(publisher, [record for _, record in failed], within_s=FLUSH_S)
    for (number, _), answer in zip(failed, answers, strict=True):
        if answer is None:
            done.accepted += 1
        elif isinstance(answer, ConfigurationError):
            done.refused.append(RefusedLine(number, "not_sent", str(answer)))
        else:
            raise answer


def _key(line: bytes) -> bytes | None:
    try:
        fields = read_object(line)
    except BadInputError:
        return None
    catalog, ad_id = fields.get("catalog"), fields.get("ad_id")
    if not isinstance(catalog, str) or not isinstance(ad_id, str):
        return None
    try:
        return str(AdKey(catalog, ad_id)).encode()
    except UnicodeEncodeError:  # a lone surrogate
        return None
