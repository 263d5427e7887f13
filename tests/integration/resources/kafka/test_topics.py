"""The contract of AdStream, tested on librdkafka's test broker and on Apache Kafka."""

import contextlib
import itertools
import socket
import time
import uuid
from collections.abc import Iterator

import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from ops.errors import ConfigurationError, RetryableError
from ops.types import StreamRecord
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import (
    ADS_MAX_BYTES,
    DLQ_MAX_BYTES,
    AdStream,
    OffsetOutOfLog,
    OffsetOutOfLogError,
    StreamConsumer,
    StreamPublisher,
)
from resources.settings import Settings
from tests.conftest import BrokerUnderTest
from tests.support.working_sessions import until

PATIENCE_S = 90.0


@pytest.fixture
def stream(broker: BrokerUnderTest) -> Iterator[AdStream]:
    with AdStream.from_settings(broker.settings()) as stream:
        stream.ensure_topics(partitions=4)
        yield stream


@pytest.fixture
def publisher(stream: AdStream) -> Iterator[StreamPublisher]:
    with stream.publisher() as publisher:
        yield publisher


def read(consumer: StreamConsumer, count: int) -> list[StreamRecord]:
    """Poll until there are `count` records, also while the broker is unreachable."""
    records: list[StreamRecord] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(records) < count and time.monotonic() < deadline:
        try:
            records += consumer.poll(max_records=100, timeout_s=0.5)
        except RetryableError:
            continue
    return records


def test_records_come_back_as_they_were_published(
    stream: AdStream, publisher: StreamPublisher
) -> None:
    """Key, value, headers, offset and the publisher's timestamp are preserved by the broker."""
    topic = stream.config.ads_topic
    before_ms = int(time.time() * 1000)
    sent = publisher.publish(
        topic, b"shop/1", b"\x00\xff value", [("reason", b"none")], partition=2
    )
    assert sent.result(5) == (2, 0)
    publisher.publish(topic, b"shop/1", None, partition=2).result(5)  # a value may be missing
    with stream.consumer() as consumer:
        consumer.assign({2: 0})
        first, second = read(consumer, 2)
    assert (first.topic, first.partition, first.offset) == (topic, 2, 0)
    assert (first.key, first.value, first.headers) == (
        b"shop/1",
        b"\x00\xff value",
        (("reason", b"none"),),
    )
    assert before_ms <= first.timestamp_ms <= int(time.time() * 1000)
    assert (second.offset, second.value, second.headers) == (1, None, ())


def test_records_of_a_key_share_a_partition_and_keep_their_order(
    stream: AdStream, publisher: StreamPublisher
) -> None:
    for number in range(200):
        publisher.publish(stream.config.ads_topic, b"k%d" % (number % 10), b"%d" % number)
    publisher.flush(10)
    with stream.consumer() as consumer:
        consumer.assign(dict.fromkeys(stream.partitions(), 0))
        records = read(consumer, 200)
    assert sorted(int(r.value or b"") for r in records) == list(range(200))
    for key, group in itertools.groupby(
        sorted(records, key=lambda r: r.key or b""), lambda r: r.key
    ):
        of_key = sorted(group, key=lambda r: r.offset)
        assert len({r.partition for r in of_key}) == 1, key
        assert [int(r.value or b"") for r in of_key] == sorted(int(r.value or b"") for r in of_key)


def test_reading_starts_at_the_given_offset_and_takes_no_more_than_asked(
    stream: AdStream, publisher: StreamPublisher
) -> None:
    for number in range(10):
        publisher.publish(stream.config.ads_topic, None, b"%d" % number, partition=1)
    publisher.flush(10)
    with stream.consumer() as consumer:
        consumer.assign({1: 4})
        assert consumer.positions() == {1: 4}
        records: list[StreamRecord] = []
        while len(records) < 6:
            polled = consumer.poll(max_records=4, timeout_s=5)
            assert 1 <= len(polled) <= 4
            records += polled
        assert [r.offset for r in records] == [4, 5, 6, 7, 8, 9]
        assert consumer.positions() == {1: 10}
        assert consumer.poll(max_records=4, timeout_s=0.1) == []
        consumer.assign({1: 9})  # in place of what was assigned, and back again
        assert [r.offset for r in read(consumer, 1)] == [9]


def test_offsets_of_the_log(stream: AdStream, publisher: StreamPublisher) -> None:
    for _ in range(3):
        publisher.publish(stream.config.ads_topic, None, b"x", partition=3)
    publisher.flush(10)
    assert stream.partitions() == [0, 1, 2, 3]
    assert stream.beginning_offsets() == {0: 0, 1: 0, 2: 0, 3: 0}
    assert stream.end_offsets() == {0: 0, 1: 0, 2: 0, 3: 3}
    assert stream.end_offsets(stream.config.dlq_topic)[0] == 0


def test_an_offset_beyond_the_log_raises_and_is_never_reset(
    stream: AdStream, publisher: StreamPublisher
) -> None:
    """A committed offset of another log, or of a broker restarted without data, is an error."""
    topic = stream.config.ads_topic
    publisher.publish(topic, None, b"x", partition=0).result(5)
    beyond = OffsetOutOfLog(topic, 0, offset=7, beginning=0, end=1)
    assert stream.outside_log({0: 7, 1: 0}) == (beyond,)
    assert stream.outside_log({0: 1}) == ()  # the end is a valid position
    with stream.consumer() as consumer:
        with pytest.raises(OffsetOutOfLogError) as error:
            consumer.assign({0: 7, 1: 0})
        assert error.value.positions == (beyond,)
        assert consumer.assigned() == []


def test_the_stream_id_names_the_log(broker: BrokerUnderTest, stream: AdStream) -> None:
    """Equal for the same topic, different for another topic; the setting takes precedence."""
    other = AdStream.from_settings(broker.settings())
    again = AdStream.from_settings(broker.settings(ads_topic=stream.config.ads_topic))
    with other, again:
        other.ensure_topics()
        assert again.stream_id() == stream.stream_id()
        assert (other.stream_id() == stream.stream_id()) == (broker.name == "embedded")
    named = AdStream.from_settings(broker.settings(stream_id="mine"))
    assert named.stream_id() == "mine"  # without a request to the broker


def test_topics_are_created_once_and_left_as_they_are(stream: AdStream) -> None:
    stream.ensure_topics(partitions=2)
    assert stream.partitions() == [0, 1, 2, 3]
    for topic in (stream.config.feedback_topic, stream.config.scored_topic):
        assert len(stream.partitions(topic)) == 4


def test_a_missing_topic_is_a_configuration_error(broker: BrokerUnderTest) -> None:
    settings = broker.settings(ads_topic=f"none-{uuid.uuid4()}")
    with (
        AdStream.from_settings(settings) as stream,
        pytest.raises(ConfigurationError, match="has no topic none-"),
    ):
        stream.partitions()


def test_a_dead_letter_may_be_twice_as_large_as_an_ad(
    stream: AdStream, publisher: StreamPublisher
) -> None:
    """The largest record that `ads` accepts fits on `ads.dlq` together with its reasons."""
    value = b"x" * (ADS_MAX_BYTES - 200)
    publisher.publish(stream.config.ads_topic, b"k", value).result(10)
    letter = publisher.publish(
        stream.config.dlq_topic, b"k", value, [("detail", b"y" * 100_000)], partition=0
    )
    assert letter.result(10) == (0, 0)
    with stream.consumer(stream.config.dlq_topic) as consumer:
        consumer.assign({0: 0})
        assert read(consumer, 1)[0].value == value


def test_a_record_larger_than_its_topic_accepts_is_rejected(
    stream: AdStream, publisher: StreamPublisher
) -> None:
    """By the publisher: a rejection by the broker would fail the records in flight."""
    for topic, limit in (
        (stream.config.ads_topic, ADS_MAX_BYTES),
        (stream.config.dlq_topic, DLQ_MAX_BYTES),
    ):
        with pytest.raises(ConfigurationError, match=f"larger than {topic} accepts"):
            publisher.publish(topic, b"k", b"x" * limit)
    publisher.publish(stream.config.ads_topic, b"k", b"x").result(5)


def test_flush_with_nothing_published_returns(publisher: StreamPublisher) -> None:
    publisher.flush(1)
    publisher.flush(1)


def test_group_offsets_are_written_for_lag_tools(
    broker: BrokerUnderTest, stream: AdStream, publisher: StreamPublisher
) -> None:
    """Any Kafka tool sees the committed offset under the group's name."""
    from kafka import KafkaConsumer, TopicPartition

    publisher.publish(stream.config.ads_topic, None, b"x", partition=0).result(5)
    deadline = time.monotonic() + PATIENCE_S
    while True:  # a new cluster creates its offsets topic at the first commit
        try:
            stream.commit_group_offsets({0: 1})
            break
        except RetryableError:
            assert time.monotonic() < deadline
    stream.commit_group_offsets({})
    tool = KafkaConsumer(
        bootstrap_servers=stream.config.bootstrap,
        api_version=stream.config.api_version,
        group_id=stream.config.group,
        enable_auto_commit=False,
    )
    assert tool.committed(TopicPartition(stream.config.ads_topic, 0)) == 1
    tool.close()


def test_a_position_trimmed_by_the_embedded_broker_raises_while_reading(
    embedded_broker: EmbeddedBroker,
) -> None:
    """It keeps 5 MiB a partition: an overtaken reader can continue at the error's `beginning`."""
    settings = BrokerUnderTest("embedded", embedded_broker.exports()).settings()
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics()
        topic = stream.config.ads_topic
        with stream.consumer() as consumer, stream.publisher() as publisher:
            consumer.assign({0: 0})
            for _ in range(8):
                publisher.publish(topic, None, b"x" * 1_000_000, partition=0)
            publisher.flush(PATIENCE_S)
            with pytest.raises(OffsetOutOfLogError) as error:
                read(consumer, 1)
            (position,) = error.value.positions
            assert (position.offset, position.end) == (0, 8)
            assert 0 < position.beginning < 8
            consumer.assign({0: position.beginning})
            remaining = read(consumer, 8 - position.beginning)
            assert [r.offset for r in remaining] == list(range(position.beginning, 8))


# Unreachable brokers and invalid settings -------------------------------------------------------


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_no_broker_at_start_is_reported_at_once_with_the_settings_name() -> None:
    address = f"127.0.0.1:{_closed_port()}"
    stream = AdStream.from_settings(Settings(kafka_bootstrap=address))
    for start in (stream.consumer, stream.publisher, stream.stream_id, stream.ensure_topics):
        began = time.monotonic()
        with pytest.raises(RetryableError, match="LALAFO_KAFKA_BOOTSTRAP") as error:
            start()
        assert address in str(error.value)
        assert time.monotonic() - began < 5


def test_a_port_that_never_answers_is_reported_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        stream = AdStream.from_settings(Settings(kafka_bootstrap=address))
        began = time.monotonic()
        with pytest.raises(RetryableError, match="LALAFO_KAFKA_BOOTSTRAP"):
            stream.consumer()
        assert time.monotonic() - began < 8


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":9092", "localhost:port", "a:1,,"])
def test_an_invalid_address_is_a_configuration_error(address: str) -> None:
    with pytest.raises(ConfigurationError, match="LALAFO_KAFKA_BOOTSTRAP"):
        AdStream.from_settings(Settings(kafka_bootstrap=address))


def test_an_unset_address_and_a_wrong_version_are_configuration_errors() -> None:
    with pytest.raises(ConfigurationError, match="LALAFO_KAFKA_BOOTSTRAP"):
        AdStream.from_settings(Settings(kafka_bootstrap=""))
    with pytest.raises(ConfigurationError, match="LALAFO_KAFKA_API_VERSION"):
        AdStream.from_settings(Settings(kafka_bootstrap="localhost:1", kafka_api_version="two"))


# Behaviour that only Apache Kafka has -----------------------------------------------------------


@pytest.fixture
def on_kafka(kafka_server: KafkaServer) -> Iterator[AdStream]:
    broker = BrokerUnderTest("kafka", kafka_server.exports())
    with AdStream.from_settings(broker.settings()) as stream:
        stream.ensure_topics(partitions=1)
        yield stream


@pytest.mark.kafka
def test_a_reader_and_a_writer_go_on_after_the_brokers_restart(
    on_kafka: AdStream, kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both raise during the outage; then the same clients continue without loss or duplicates."""
    monkeypatch.setattr(
        "resources.kafka.publisher._DELIVERY_S", 300.0
    )  # however long a start takes
    topic = on_kafka.config.ads_topic
    with on_kafka.consumer() as consumer, on_kafka.publisher() as publisher:
        consumer.assign({0: 0})
        publisher.publish(topic, None, b"before").result(PATIENCE_S)
        assert [r.value for r in read(consumer, 1)] == [b"before"]
        kafka_server.kill()
        try:
            with pytest.raises(RetryableError, match="LALAFO_KAFKA_BOOTSTRAP"):
                for _ in range(20):
                    consumer.poll(max_records=10, timeout_s=0.5)
            with pytest.raises(RetryableError, match="LALAFO_KAFKA_BOOTSTRAP"):
                on_kafka.stream_id()
            publisher.publish(topic, None, b"meanwhile")
            with pytest.raises(RetryableError, match="LALAFO_KAFKA_BOOTSTRAP"):
                publisher.flush(0.5)
        finally:
            kafka_server.start()
        publisher.publish(topic, None, b"after")
        publisher.flush(PATIENCE_S)
        assert [r.value for r in read(consumer, 2)] == [b"meanwhile", b"after"]

    def end_offsets_are_known() -> bool:  # a restarted broker may not have its metadata yet
        with contextlib.suppress(RetryableError):
            assert on_kafka.end_offsets() == {0: 3}
            return True
        return False

    until(end_offsets_are_known)


@pytest.mark.kafka
def test_a_trimmed_position_raises_while_reading(on_kafka: AdStream) -> None:
    """When retention overtakes a reader, the error has the log's bounds; no silent jump."""
    from kafka import KafkaAdminClient, TopicPartition

    topic = on_kafka.config.ads_topic
    with on_kafka.consumer() as consumer, on_kafka.publisher() as publisher:
        consumer.assign({0: 0})
        for number in range(5):
            publisher.publish(topic, None, b"%d" % number)
        publisher.flush(5)
        admin = KafkaAdminClient(bootstrap_servers=on_kafka.config.bootstrap)
        admin.delete_records({TopicPartition(topic, 0): 3})
        admin.close()
        with pytest.raises(OffsetOutOfLogError) as error:
            read(consumer, 1)
        assert error.value.positions == (OffsetOutOfLog(topic, 0, offset=0, beginning=3, end=5),)
        consumer.assign({0: error.value.positions[0].beginning})
        assert [r.offset for r in read(consumer, 2)] == [3, 4]


@pytest.mark.kafka
def test_a_publisher_goes_on_after_kafka_rejected_a_record(on_kafka: AdStream) -> None:
    """A topic with a lower limit rejects it permanently; later records are published."""
    from kafka import KafkaAdminClient

    topic = on_kafka.config.scored_topic
    admin = KafkaAdminClient(bootstrap_servers=on_kafka.config.bootstrap)
    admin.create_topics(
        {"small": {"num_partitions": 1, "configs": {"max.message.bytes": "1000"}}},
        wait_for_metadata=True,
    )
    admin.close()
    with on_kafka.publisher() as publisher:
        refused = publisher.publish("small", None, b"x" * 5_000)
        with pytest.raises(ConfigurationError, match=r"max\.message\.bytes"):
            refused.result(10)
        with pytest.raises(ConfigurationError, match=r"max\.message\.bytes"):
            publisher.flush(10)
        publisher.publish("small", None, b"x").result(10)
        publisher.publish(topic, None, b"x").result(10)
        publisher.flush(10)  # a rejection is raised once


@pytest.mark.kafka
def test_a_topic_created_again_has_another_stream_id(on_kafka: AdStream) -> None:
    """Offsets of the deleted topic can't be mistaken for those of the new one."""
    from kafka import KafkaAdminClient

    before = on_kafka.stream_id()
    admin = KafkaAdminClient(bootstrap_servers=on_kafka.config.bootstrap)
    admin.delete_topics([on_kafka.config.ads_topic])
    admin.close()
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        on_kafka.ensure_topics(partitions=1)
        if on_kafka.stream_id() != before:
            return
    pytest.fail("the topic kept its id")
