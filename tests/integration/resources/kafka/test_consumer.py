"""What a consumer makes of records as Apache Kafka really returns them."""

import re
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from ops.errors import RetryableError
from ops.types import StreamRecord
from resources.kafka.consumer import StreamConsumer
from resources.kafka.records.stopped import UnreadableBatchError
from resources.kafka.topics import AdStream
from tests.conftest import BrokerUnderTest
from tests.support.odd_batches import OddKey, confluent, damage_on_disk, header_damaged_on_disk
from tests.support.working_sessions import until

pytestmark = pytest.mark.kafka


@pytest.fixture
def stream(kafka_server: KafkaServer) -> Iterator[AdStream]:
    broker = BrokerUnderTest("kafka", kafka_server.exports())
    with AdStream.from_settings(broker.settings()) as stream:
        stream.ensure_topics(partitions=4)
        yield stream


@pytest.fixture
def consumer(stream: AdStream) -> Iterator[StreamConsumer]:
    """One that isolates, at the beginning of all partitions."""
    with stream.consumer(isolates=True) as consumer:
        consumer.assign(dict.fromkeys(range(4), 0))
        yield consumer


def read_until(
    consumer: StreamConsumer, condition: Callable[[list[StreamRecord]], object]
) -> list[StreamRecord]:
    """Poll until the condition holds for what was read."""
    records: list[StreamRecord] = []

    def holds() -> bool:
        records.extend(consumer.poll(max_records=64, timeout_s=0.1))
        return bool(condition(records))

    until(holds)
    return records


def publish(stream: AdStream, *values: bytes, partition: int) -> None:
    with stream.publisher() as publisher:
        for value in values:
            publisher.publish(stream.config.ads_topic, None, value, partition=partition)
        publisher.flush(20)


def answers(ask: Callable[[], object]) -> object:
    """The answer; None while a broker is still creating the partitions."""
    try:
        return ask()
    except RetryableError:
        return None


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_codec_of_other_producers_is_read(
    stream: AdStream, consumer: StreamConsumer, codec: str
) -> None:
    """librdkafka's producer, as the sellers' systems use it."""
    producer = confluent(stream.config.bootstrap, compression_type=codec, linger_ms=50)
    sent = [b"%d " % number * 100 for number in range(50)]
    for value in sent:
        producer.produce(stream.config.ads_topic, value, key=b"kg/1", partition=2)
    assert producer.flush(20) == 0
    records = read_until(consumer, lambda found: len(found) >= 50)
    assert [record.value for record in records] == sent
    assert consumer.stopped() == {}


def test_a_header_key_that_is_not_utf_8_loses_nothing(
    stream: AdStream, consumer: StreamConsumer
) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=stream.config.bootstrap)
    topic = stream.config.ads_topic
    producer.send(topic, value=b"ad", partition=2, headers=[(OddKey("x"), b"1")]).get(10)
    producer.send(topic, value=b"next", partition=2).get(10)
    producer.close()
    records = read_until(consumer, lambda found: len(found) >= 2)
    assert [(r.value, r.headers) for r in records] == [
        (b"ad", (("tr\udcff", b"1"),)),
        (b"next", ()),
    ]


def test_a_damaged_batch_stops_its_partition_alone(
    stream: AdStream, consumer: StreamConsumer, kafka_server: KafkaServer
) -> None:
    """Named with its offsets, tried again, and passed on request; the others are read on."""
    topic = stream.config.ads_topic
    publish(stream, b"before", partition=1)
    publish(stream, b"to be damaged", partition=1)
    publish(stream, b"after", partition=1)
    damage_on_disk(kafka_server, topic, 1, b"to be damaged")
    records = read_until(consumer, lambda _: 1 in consumer.stopped())
    assert [record.value for record in records] == [b"before"]
    batch = consumer.stopped()[1].batch
    assert (batch.partition, batch.offset, batch.next_offset) == (1, 1, 2)
    assert "CRC" in batch.reason and b"o be damaged" in batch.data
    publish(stream, b"beside", partition=3)
    records = read_until(consumer, lambda found: found and consumer.stopped()[1].attempts >= 3)
    assert [record.value for record in records] == [b"beside"]
    assert consumer.positions() == {0: 0, 1: 1, 2: 0, 3: 1}
    consumer.assign(consumer.positions())
    assert 1 in consumer.stopped(), "an assignment of other partitions starts no new attempts"
    consumer.skip(1)
    records = read_until(consumer, lambda found: found)
    assert [record.value for record in records] == [b"after"]
    assert consumer.stopped() == {}


@pytest.mark.parametrize(
    ("at", "new", "reason"),
    [
        (8, struct.pack(">i", -1), "CorruptRecordError"),
        (8, struct.pack(">i", 2**30), "sends nothing"),
        # It checks the version only where it has to look into the batch; else the client finds it.
        (16, b"\x01", "the broker can't read|the CRC of the record"),
        (0, struct.pack(">q", 2**40), "far beyond the end"),
        (0, struct.pack(">q", -5), "sends nothing"),
    ],
    ids=["length", "length beyond the file", "version", "offset", "earlier offset"],
)
def test_what_the_broker_cannot_read_stops_its_partition_alone(
    stream: AdStream, kafka_server: KafkaServer, at: int, new: bytes, reason: str
) -> None:
    """It answers with an error that names no partition, or sends nothing at any fetch."""
    topic = stream.config.ads_topic
    publish(stream, b"before", partition=1)
    publish(stream, b"to be damaged", partition=1)
    damaged = header_damaged_on_disk(kafka_server, topic, 1, b"to be damaged", at=at, new=new)
    fast = partial(StreamConsumer, stream.config, topic, clock=lambda: time.monotonic() * 50)
    with fast(isolates=True) as consumer:
        with damaged:
            consumer.assign(dict.fromkeys(range(4), 0))
            records = read_until(
                consumer, lambda _: 1 in (now := consumer.stopped()) and now[1].attempts >= 3
            )
            assert [record.value for record in records] == [b"before"]
            batch = consumer.stopped()[1].batch
            assert (batch.partition, batch.offset) == (1, 1) and re.search(reason, batch.reason)
            publish(stream, b"beside", partition=3)
            records = read_until(consumer, lambda found: found)
            assert [record.value for record in records] == [b"beside"]
        records = read_until(consumer, lambda found: found)
        assert [record.value for record in records] == [b"to be damaged"], "once it is repaired"


def test_a_partition_that_waits_for_a_transaction_is_not_stopped(stream: AdStream) -> None:
    """The broker sends nothing of it either, and its log goes on; nor an idle one."""
    producer = confluent(stream.config.bootstrap, transactional_id=f"{stream.config.ads_topic}-2")
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(stream.config.ads_topic, b"open", partition=0)
    producer.flush(20)
    started = time.monotonic()
    fast = partial(StreamConsumer, stream.config, stream.config.ads_topic)
    with fast(isolates=True, clock=lambda: (time.monotonic() - started) * 50) as consumer:
        consumer.assign(dict.fromkeys(range(4), 0))
        read_until(consumer, lambda _: (time.monotonic() - started) * 50 > 300)
        assert consumer.stopped() == {}
        producer.commit_transaction(20)
        assert [r.value for r in read_until(consumer, lambda found: found)] == [b"open"]


def test_a_batch_that_can_be_read_later_is_read(
    stream: AdStream, consumer: StreamConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec that is installed, or a disk that recovers: nothing is lost, nothing is skipped."""
    producer = confluent(stream.config.bootstrap, compression_type="zstd")
    producer.produce(stream.config.ads_topic, b"ad " * 100, partition=0)
    producer.flush(20)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "zstandard", None)
        read_until(consumer, lambda _: 0 in consumer.stopped())
        assert consumer.stopped()[0].batch.codec == "zstd"
    records = read_until(consumer, lambda found: found)
    assert [record.value for record in records] == [b"ad " * 100]
    read_until(consumer, lambda _: consumer.stopped() == {})


def test_a_reader_that_does_not_isolate_raises(stream: AdStream, kafka_server: KafkaServer) -> None:
    """A tool must not wait without end for records that can't come."""
    publish(stream, b"to be damaged", partition=0)
    damage_on_disk(kafka_server, stream.config.ads_topic, 0, b"to be damaged")
    with stream.consumer() as consumer:
        consumer.assign({0: 0})
        with pytest.raises(UnreadableBatchError, match=r"\[0\]: offsets 0 to 0 .* CRC"):
            read_until(consumer, lambda _: False)


def test_no_partition_waits_for_anothers_backlog(
    stream: AdStream, consumer: StreamConsumer
) -> None:
    """15,000 small ads on one partition, and one each on three others, also later ones."""
    publish(stream, *(b"%d" % n + b" " * 200 for n in range(15_000)), partition=0)
    for partition in (1, 2, 3):
        publish(stream, b"alone", partition=partition)
    consumer.assign(dict.fromkeys(range(4), 0))
    records = read_until(consumer, lambda found: {r.partition for r in found} == {0, 1, 2, 3})
    assert len(records) < 1_000
    publish(stream, b"later", partition=2)
    records += read_until(consumer, lambda found: any(r.value == b"later" for r in found))
    assert len(records) < 15_000, "read among the backlog, not behind it"
    records += read_until(consumer, lambda found: len(found) + len(records) >= 15_004)
    of_first = [record.offset for record in records if record.partition == 0]
    assert of_first == list(range(15_000))


def test_only_committed_transactions_are_read(stream: AdStream, consumer: StreamConsumer) -> None:
    """Aborted and open ones are not; the position is past the marker, so that the lag is 0."""
    topic = stream.config.ads_topic
    producer = confluent(stream.config.bootstrap, transactional_id=f"{topic}-1")
    producer.init_transactions(20)
    producer.begin_transaction()
    for number in range(10):
        producer.produce(topic, b"aborted %d" % number, partition=0)
    producer.flush(20)
    producer.abort_transaction(20)
    producer.begin_transaction()
    producer.produce(topic, b"committed", partition=0)
    producer.commit_transaction(20)
    records = read_until(consumer, lambda _: consumer.positions()[0] == 13)
    assert [record.value for record in records] == [b"committed"]
    assert stream.bounds()[0] == (0, 13) and consumer.lags()[0] == 0
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush(20)
    assert stream.bounds()[0] == (0, 13), "the end for a reader is before an open transaction"
    producer.commit_transaction(20)
    records = read_until(consumer, lambda found: found)
    assert [record.value for record in records] == [b"open"]


def test_a_partition_that_is_added_later_can_be_assigned(
    stream: AdStream, consumer: StreamConsumer
) -> None:
    from kafka import KafkaAdminClient

    stream.bounds()  # its reader's metadata has four partitions
    admin = KafkaAdminClient(bootstrap_servers=stream.config.bootstrap)
    admin.create_partitions({stream.config.ads_topic: 6})
    admin.close()
    until(lambda: stream.current_log().partitions == (0, 1, 2, 3, 4, 5))
    until(lambda: answers(stream.bounds) == dict.fromkeys(range(6), (0, 0)))
    publish(stream, b"new", partition=5)
    consumer.assign({**consumer.positions(), 5: 0})
    assert [r.value for r in read_until(consumer, lambda found: found)] == [b"new"]


def test_hundreds_of_partitions_are_read(kafka_server: KafkaServer) -> None:
    """By one consumer, whose bounds come for all partitions at once."""
    broker = BrokerUnderTest("kafka", kafka_server.exports())
    with AdStream.from_settings(broker.settings()) as stream:
        stream.ensure_topics(partitions=200)
        until(lambda: answers(stream.bounds) == dict.fromkeys(range(200), (0, 0)))
        with stream.consumer(isolates=True) as consumer:
            consumer.assign(dict.fromkeys(range(200), 0))
            for partition in (0, 99, 199):
                publish(stream, b"ad", partition=partition)
            records = read_until(consumer, lambda found: len(found) == 3)
            assert {record.partition for record in records} == {0, 99, 199}
