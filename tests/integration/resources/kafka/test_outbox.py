"""The outbox relay on both brokers: at-least-once delivery, no loss, no row sent by two relays."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ops.errors import ConfigurationError, RetryableError
from resources.embedded.broker import EmbeddedBroker
from resources.kafka import outbox
from resources.kafka.outbox import put, relay
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from tests.conftest import BrokerUnderTest
from tests.support.topic_records import everything_on


@pytest.fixture
def stream(broker: BrokerUnderTest) -> Iterator[AdStream]:
    with AdStream.from_settings(broker.settings()) as stream:
        stream.ensure_topics(partitions=2)
        yield stream


def enqueue(database: Database, topic: str, *numbers: int) -> None:
    with database.cursor() as cursor:
        for number in numbers:
            put(cursor, topic, b"kg/%d" % number, b"value %d" % number)


def pending(database: Database) -> list[bytes]:
    with database.cursor() as cursor:
        cursor.execute("SELECT value FROM lalafo.outbox ORDER BY id")
        return [value for (value,) in cursor.fetchall()]


def test_pending_rows_are_published_once_and_in_order(database: Database, stream: AdStream) -> None:
    """Keys and values are unchanged, the oldest rows go first, and no row is left."""
    topic = stream.config.scored_topic
    enqueue(database, topic, 1, 2, 3)
    with stream.publisher() as publisher:
        assert relay(database, publisher, older_than_s=0, limit=2) == 2
        assert pending(database) == [b"value 3"]
        assert relay(database, publisher, older_than_s=0, limit=2) == 1
        assert relay(database, publisher, older_than_s=0, limit=2) == 0
    found = everything_on(stream, topic)
    assert sorted((r.key, r.value) for r in found) == [
        (b"kg/%d" % n, b"value %d" % n) for n in (1, 2, 3)
    ]


def test_recent_rows_are_left_to_their_writer(database: Database, stream: AdStream) -> None:
    """Only rows older than `older_than_s` are published."""
    topic = stream.config.scored_topic
    enqueue(database, topic, 1, 2)
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.outbox SET created_at = created_at - interval '10 seconds' "
            "WHERE value = 'value 1'"
        )
    with stream.publisher() as publisher:
        assert relay(database, publisher, older_than_s=5, limit=10) == 1
    assert pending(database) == [b"value 2"]


def test_rows_of_a_failed_transaction_are_never_published(
    database: Database, stream: AdStream
) -> None:
    """A rolled-back row is not in the outbox."""
    with pytest.raises(ZeroDivisionError), database.cursor() as cursor:
        put(cursor, stream.config.scored_topic, None, b"never")
        raise ZeroDivisionError
    with stream.publisher() as publisher:
        assert relay(database, publisher, older_than_s=0, limit=10) == 0


def test_two_relays_at_once_lose_nothing_and_share(database: Database, stream: AdStream) -> None:
    """300 rows, two concurrent relays: each row is on the topic exactly once."""
    topic = stream.config.scored_topic
    enqueue(database, topic, *range(300))

    def work() -> int:
        total = 0
        with stream.publisher() as publisher:
            while sent := relay(database, publisher, older_than_s=0, limit=10):
                total += sent
        return total

    with ThreadPoolExecutor(2) as pool:
        sent = [job.result(60) for job in [pool.submit(work), pool.submit(work)]]
    found = [r.value for r in everything_on(stream, topic)]
    assert sum(sent) == 300, f"sent {sent}"
    assert len(found) == 300 and len(set(found)) == 300, f"{len(found)} on the topic"
    assert pending(database) == []


def test_rows_under_another_relays_lock_are_skipped(database: Database, stream: AdStream) -> None:
    """A relay does not wait for another one: it takes the rows that are not locked."""
    topic = stream.config.scored_topic
    enqueue(database, topic, 1, 2, 3)
    with stream.publisher() as publisher:
        with database.cursor() as other:
            other.execute(
                "SELECT FROM lalafo.outbox WHERE value = 'value 1' FOR UPDATE SKIP LOCKED"
            )
            assert relay(database, publisher, older_than_s=0, limit=10) == 2
        assert pending(database) == [b"value 1"]
        assert relay(database, publisher, older_than_s=0, limit=10) == 1
    assert len(everything_on(stream, topic)) == 3


def test_a_permanently_rejected_row_stays_and_blocks_no_other(
    database: Database, stream: AdStream
) -> None:
    """A row too large for its topic is named in the error; the rows after it are published."""
    topic = stream.config.scored_topic
    enqueue(database, topic, 1)
    with database.cursor() as cursor:
        put(cursor, topic, None, b"x" * 2**20)
    enqueue(database, topic, 2)
    with stream.publisher() as publisher:
        with pytest.raises(ConfigurationError, match=r"row \d+ of lalafo.outbox is rejected"):
            relay(database, publisher, older_than_s=0, limit=10)
        assert pending(database) == [b"x" * 2**20]
    assert len(everything_on(stream, topic)) == 2


@pytest.mark.kafka
@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_a_row_that_the_broker_rejects_stays(database: Database, stream: AdStream) -> None:
    """A topic with a lower limit rejects it; it is not deleted, and later rows are published."""
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=stream.config.bootstrap)
    small = f"{stream.config.ads_topic}.small"
    admin.create_topics(
        {small: {"num_partitions": 1, "configs": {"max.message.bytes": "1000"}}},
        wait_for_metadata=True,
    )
    admin.close()
    with database.cursor() as cursor:
        put(cursor, small, None, b"x" * 5_000)
    enqueue(database, stream.config.scored_topic, 1, 2)
    with stream.publisher() as publisher:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"max\.message\.bytes"):
                relay(database, publisher, older_than_s=0, limit=10)
            assert pending(database) == [b"x" * 5_000]
            enqueue(database, stream.config.scored_topic, 3)
    found = {r.value for r in everything_on(stream, stream.config.scored_topic)}
    assert found == {b"value 1", b"value 2", b"value 3"}


def test_an_unreachable_broker_leaves_every_row(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is deleted without an acknowledgement; the restarted broker gets all of them."""
    server = EmbeddedBroker(tmp_path)
    server.start()
    settings = BrokerUnderTest("embedded", server.exports()).settings()
    stream = AdStream.from_settings(settings)
    stream.ensure_topics()
    publisher = stream.publisher()
    publisher.publish(settings.ads_topic, None, b"").result(5)
    monkeypatch.setattr(outbox, "ACKNOWLEDGED_WITHIN_S", 0.5)
    enqueue(database, settings.ads_topic, 1, 2, 3)
    server.stop()
    with pytest.raises(RetryableError, match="LALAFO_KAFKA_BOOTSTRAP"):
        relay(database, publisher, older_than_s=0, limit=10)
    assert len(pending(database)) == 3
    with pytest.raises(RetryableError, match="before closing"):
        publisher.close(0.1)
    stream.close()
    server.start()
    again = BrokerUnderTest("embedded", server.exports()).settings(ads_topic=settings.ads_topic)
    with AdStream.from_settings(again) as stream:
        stream.ensure_topics()
        with stream.publisher() as publisher:
            assert relay(database, publisher, older_than_s=0, limit=10) == 3
        assert len(everything_on(stream, settings.ads_topic)) == 3
    server.stop()
