"""Dead letters on `ads.dlq`: their reason, the original's bytes and headers, and what fits."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ops.outcomes import DeadLetter
from ops.types import StreamRecord
from resources.kafka.dead_letters import DeadLetterTopic
from resources.kafka.topics import AdStream
from tests.conftest import BrokerUnderTest
from tests.support.batches import dead_letter
from tests.support.topic_records import everything_on


@pytest.fixture
def stream(broker: BrokerUnderTest) -> Iterator[AdStream]:
    with AdStream.from_settings(broker.settings()) as stream:
        stream.ensure_topics(partitions=1)
        yield stream


def published(stream: AdStream, letter: DeadLetter) -> StreamRecord:
    with stream.publisher() as publisher:
        DeadLetterTopic(publisher, stream.config.dlq_topic).send([letter])
    return everything_on(stream, stream.config.dlq_topic)[-1]


def changed(letter: DeadLetter, **changes: object) -> DeadLetter:
    return replace(letter, record=replace(letter.record, **changes))


def test_the_original_s_headers_do_not_collide_with_the_reason(stream: AdStream) -> None:
    """A record with a header `reason` of its own; repeated, binary, empty and null ones."""
    headers = (("reason", b"mine"), ("a", b"1"), ("a", b"\xff\x00"), ("b", b""), ("c", None))
    letter = published(stream, changed(dead_letter(7), headers=headers))
    assert dict(letter.headers)["reason"] == b"event_not_json"
    assert letter.headers[6:] == (
        *(("original.reason", b"mine"), ("original.a", b"1"), ("original.a", b"\xff\x00")),
        *(("original.b", b""), ("original.c", b"")),
    )
    assert (letter.key, letter.value) == (b"kg/1", b"nonsense")


def test_half_a_surrogate_pair_is_written_as_an_escape(stream: AdStream) -> None:
    """In the detail, or in a key of the original: such a letter would stop the session."""
    letter = changed(dead_letter(7), headers=(("k\ud800", b"1"), ("\udcff", b"2")))
    letter = replace(letter, failure=replace(letter.failure, detail="title '\ud800'"))
    headers = published(stream, letter).headers
    assert dict(headers)["detail"] == b"title '\\ud800'"
    assert headers[6:] == (("original.k\\xed\\xa0\\x80", b"1"), ("original.\\xff", b"2"))


def test_headers_that_do_not_fit_are_left_out_and_counted(stream: AdStream) -> None:
    """100,000 small headers fit on `ads`; with a prefix each they would stop the session."""
    headers = tuple((f"{number}", b"") for number in range(100_000))
    letter = published(stream, changed(dead_letter(7), headers=headers))
    kept = [name for name, _ in letter.headers if name.startswith("original.")]
    assert kept == [f"original.{number}" for number in range(len(kept))]
    assert dict(letter.headers)["headers_left_out"] == b"%d" % (100_000 - len(kept))
    assert 10_000 < len(kept) < 100_000


def test_a_value_that_does_not_fit_is_left_out_with_its_size(stream: AdStream) -> None:
    """A topic of ads whose limit was raised; the row in PostgreSQL has the value."""
    letter = published(stream, dead_letter(7, b"x" * 3_000_000))
    assert letter.value is None
    assert dict(letter.headers)["value_bytes_left_out"] == b"3000000"
    assert dict(letter.headers)["reason"] == b"event_not_json"


def test_a_record_of_nothing_is_on_the_topic_too(stream: AdStream) -> None:
    """Neither key nor value: kafka-python refuses to send such a record."""
    letter = published(stream, changed(dead_letter(7), key=None, value=None))
    assert (letter.key, letter.value) == (None, b"")
    assert dict(letter.headers)["reason"] == b"event_not_json"
