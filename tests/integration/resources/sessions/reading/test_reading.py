"""What a session makes of a topic as Apache Kafka really serves it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from resources.sessions.group.members import read_sessions
from resources.sessions.offsets import read_offsets
from tests.conftest import BrokerUnderTest
from tests.integration.resources.sessions.test_metrics import free_ports, scrape
from tests.support.live_session import Live, ad
from tests.support.odd_batches import (
    OddKey,
    confluent,
    damage_on_disk,
    header_damaged_on_disk,
    truncate_on_disk,
)
from tests.support.odd_photos import jpeg, noisy
from tests.support.working_sessions import Working, until

pytestmark = pytest.mark.kafka


@pytest.fixture
def broker(kafka_server: KafkaServer) -> BrokerUnderTest:
    return BrokerUnderTest("kafka", kafka_server.exports())


@pytest.fixture
def url(live: Live) -> str:
    return live.photo("a.jpg", jpeg(noisy(80, 60, 1)))


def publish(live: Live, *ads: dict, partition: int) -> None:
    """Publish ads one by one, each in a batch of its own."""
    with live.stream.publisher() as publisher:
        for event in ads:
            key, value = f"kg/{event['ad_id']}".encode(), json.dumps(event).encode()
            publisher.publish(live.settings.ads_topic, key, value, partition=partition).result(10)


def scored(live: Live) -> set[str]:
    return {ad_id for (ad_id,) in live.rows("SELECT ad_id FROM lalafo.ads")}


def committed(live: Live) -> dict[int, int]:
    return read_offsets(live.database, live.stream.stream_id(), live.settings.ads_topic)


def incidents(live: Live) -> list[tuple]:
    return live.rows(
        'SELECT reason, partition, "offset" FROM lalafo.failures WHERE kind = %s', "stream"
    )


def recreate(live: Live, *, partitions: int) -> None:
    """Delete the topic, and create it again at once."""
    from kafka import KafkaAdminClient
    from kafka.errors import TopicAlreadyExistsError

    topic = live.settings.ads_topic
    admin = KafkaAdminClient(bootstrap_servers=live.stream.config.bootstrap)
    admin.delete_topics([topic])

    def is_created() -> bool:
        try:
            admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}})
        except TopicAlreadyExistsError:  # the broker has not finished the deletion
            return False
        return True

    until(is_created)
    admin.wait_for_topics([topic])
    admin.close()


def damaged_topic(live: Live, kafka_server: KafkaServer, url: str) -> None:
    """Partition 0 has a good ad, one that the disk has damaged, and a good one."""
    publish(live, *(ad(name, [url], title=f"title {name}") for name in "abc"), partition=0)
    damage_on_disk(kafka_server, live.settings.ads_topic, 0, b"title b")


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict]]]:
    """The URL of a webhook, and the bodies that it got."""
    bodies: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_batch_that_cannot_be_read_stops_its_partition_alone(
    live: Live, kafka_server: KafkaServer, url: str
) -> None:
    """It is kept as an incident and reported; the session reads the others, and ends as asked."""
    damaged_topic(live, kafka_server, url)
    with (
        webhook() as (address, bodies),
        Working(live, metrics_port=free_ports(1), failure_webhook_url=address) as worker,
    ):
        until(lambda: incidents(live))
        publish(live, ad("beside", [url]), partition=1)
        until(lambda: scored(live) == {"a", "beside"})
        until(lambda: bodies)
        sample = scrape(worker.session.metrics_url)
        worker.end()
        assert worker.error is None, worker.error
    assert incidents(live) == [("stream_batch_unreadable", 0, 1)]
    assert committed(live) == {0: 1, 1: 1}
    ((detail, original),) = live.rows("SELECT detail, original FROM lalafo.failures")
    assert "offsets 1 to 1" in detail and "CRC" in detail and "LALAFO_UNREADABLE_BATCH" in detail
    assert b'"ad_id": "b"' in bytes(original)
    assert sample["lalafo_partition_stopped", (("partition", "0"),)] == 1
    labels = (("kind", "stream"), ("reason", "stream_batch_unreadable"))
    assert sample["lalafo_failures_total", labels] == 1
    assert [(b["kafka_partition"], b["offset"], b["next_offset"]) for b in bodies] == [(0, 1, 2)]


def test_a_batch_that_cannot_be_read_is_skipped_where_the_setting_says_so(
    live: Live, kafka_server: KafkaServer, url: str
) -> None:
    """After three attempts, once its incident is stored; a later session does not meet it."""
    damaged_topic(live, kafka_server, url)
    with Working(live, unreadable_batch="skip") as worker:
        worker.wait_for(2)
        until(lambda: committed(live) == {0: 3})
    assert scored(live) == {"a", "c"}
    assert incidents(live) == [("stream_batch_unreadable", 0, 1)]
    total, _ = live.drain(run_id="run-2")
    assert total.events == 0


def test_skipped_records_at_the_end_leave_no_lag(
    live: Live, kafka_server: KafkaServer, url: str
) -> None:
    publish(live, ad("a", [url], title="title a"), partition=0)
    damage_on_disk(kafka_server, live.settings.ads_topic, 0, b"title a")
    with Working(live, unreadable_batch="skip"):
        until(lambda: committed(live) == {0: 1})
    assert scored(live) == set()


def test_a_position_that_leaves_the_log_costs_its_partition_alone(
    live: Live, kafka_server: KafkaServer, url: str
) -> None:
    """Retention, or a person, removes what could not be read: the same session reads on."""
    from kafka import KafkaAdminClient, TopicPartition

    damaged_topic(live, kafka_server, url)
    with Working(live) as worker:
        until(lambda: incidents(live))
        admin = KafkaAdminClient(bootstrap_servers=live.stream.config.bootstrap)
        admin.delete_records({TopicPartition(live.settings.ads_topic, 0): 2})
        admin.close()
        publish(live, ad("beside", [url]), partition=1)
        until(lambda: worker.checked() and scored(live) == {"a", "beside", "c"})
        until(lambda: committed(live) == {0: 3, 1: 1})
    assert sorted(incidents(live)) == [
        ("stream_batch_unreadable", 0, 1),
        ("stream_offset_out_of_log", 0, 1),
    ]


def test_a_batch_that_the_broker_sends_no_more_is_an_incident(
    live: Live, kafka_server: KafkaServer, url: str
) -> None:
    """Its offset is damaged: a second fetch, from where it should be, returns what is behind it."""
    publish(live, *(ad(name, [url], title=f"title {name}.") for name in "abc"), partition=0)
    damaged: dict = {"at": 0, "new": b"\xff" * 8}
    with (
        header_damaged_on_disk(kafka_server, live.settings.ads_topic, 0, b"title b.", **damaged),
        Working(live) as worker,
    ):
        worker.wait_for(2)
        until(lambda: worker.checked() and incidents(live))
    assert scored(live) == {"a", "c"}
    assert incidents(live) == [("stream_batch_unreadable", 0, 1)]


def test_a_truncated_log_is_read_again_from_its_beginning(
    live: Live, kafka_server: KafkaServer, url: str
) -> None:
    """An election of a laggard: the offsets that were committed are other ads now. None is lost."""
    publish(live, *(ad(name, [url], title=f"title {name}.") for name in "abc"), partition=0)
    with Working(live) as worker:
        worker.wait_for(3)
        until(lambda: committed(live) == {0: 3})
        kafka_server.stop()
        truncate_on_disk(kafka_server, live.settings.ads_topic, 0, b"title b.")
        kafka_server.restart()
        publish(live, *(ad(name, [url]) for name in "defg"), partition=0)
        until(lambda: worker.checked() and scored(live) == set("abcdefg"))
        until(lambda: committed(live) == {0: 5})
    assert {reason for reason, *_ in incidents(live)} == {"stream_offset_out_of_log"}


def test_an_odd_header_key_loses_no_ad(live: Live, url: str) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=live.stream.config.bootstrap)
    value = json.dumps(ad("a", [url])).encode()
    headers = [(OddKey("x"), b"1")]
    producer.send(live.settings.ads_topic, key=b"kg/a", value=value, headers=headers).get(10)
    producer.close()
    with Working(live) as worker:
        worker.wait_for(1)
    assert live.rows("SELECT count(*) FROM lalafo.failures") == [(0,)]


def test_only_committed_transactions_are_scored_and_no_lag_is_left(live: Live, url: str) -> None:
    """Aborted ads are not written; the committed offset passes the markers at the end."""
    topic = live.settings.ads_topic
    producer = confluent(live.stream.config.bootstrap, transactional_id=f"{topic}-1")
    producer.init_transactions(20)

    def transact(*names: str) -> None:
        producer.begin_transaction()
        for name in names:
            value = json.dumps(ad(name, [url]))
            producer.produce(topic, value, key=f"kg/{name}", partition=0)
        producer.flush(20)

    with Working(live) as worker:
        transact("x", "y", "z")
        producer.abort_transaction(20)
        transact("a")
        producer.commit_transaction(20)
        worker.wait_for(1)
        until(lambda: committed(live) == {0: 6})
        assert live.stream.bounds()[0] == (0, 6)
    assert scored(live) == {"a"}
    assert worker.total is not None and (worker.total.events, worker.total.unaccounted) == (1, 0)


def test_partitions_that_are_added_are_read_by_a_running_session(live: Live, url: str) -> None:
    from kafka import KafkaAdminClient

    with Working(live) as worker:
        until(lambda: worker.partitions == {0, 1})
        admin = KafkaAdminClient(bootstrap_servers=live.stream.config.bootstrap)
        admin.create_partitions({live.settings.ads_topic: 4})
        admin.close()
        until(lambda: worker.partitions == {0, 1, 2, 3}, within_s=30)
        publish(live, ad("a", [url]), partition=3)
        worker.wait_for(1)


def test_200_partitions_are_read_by_a_session_that_stays_alive(live: Live) -> None:
    """All positions are looked up together, and its lease is renewed meanwhile."""
    from kafka import KafkaAdminClient

    topic = live.settings.ads_topic
    admin = KafkaAdminClient(bootstrap_servers=live.stream.config.bootstrap)
    admin.create_partitions({topic: 200})
    admin.close()
    until(lambda: len(live.stream.current_log().partitions) == 200)
    with live.stream.publisher() as publisher:
        for number in range(200):
            event = ad(str(number), [])
            publisher.publish(
                topic, f"kg/{number}".encode(), json.dumps(event).encode(), partition=number
            )
        publisher.flush(60)
    with Working(live) as worker:
        until(lambda: worker.session.membership.state == "ready")

        def all_scored() -> bool:
            assert read_sessions(live.database, topic)[worker.run_id].alive
            return len(scored(live)) == 200

        until(all_scored)
        until(lambda: committed(live) == dict.fromkeys(range(200), 1))


@pytest.mark.parametrize("stream_id", ["", "by-hand"])
def test_a_topic_that_is_created_again_is_read_from_its_beginning(
    live: Live, url: str, stream_id: str
) -> None:
    """Also where the new one is filled past the position: nothing of it is skipped."""
    topic = live.settings.ads_topic
    live.stream.config = replace(live.stream.config, stream_id=stream_id)
    publish(live, *(ad(f"old-{n}", [url]) for n in range(5)), partition=0)
    with Working(live) as worker:
        worker.wait_for(5)
        until(lambda: committed(live) == {0: 5})
        before = live.stream.current_log().id
        recreate(live, partitions=2)
        publish(live, *(ad(f"new-{n}", [url]) for n in range(40)), partition=0)
        worker.wait_for(45)
        after = live.stream.current_log().id
        until(lambda: committed(live) == {0: 40})
    assert before != after
    assert worker.error is None, worker.error
    reasons = [reason for reason, *_ in incidents(live)]
    possible = [["stream_topic_recreated"]]
    if stream_id == "by-hand":
        # Both logs have one stream id: where the new one is still shorter than the position, a
        # session may read past its end before, or while, the topic is looked at.
        possible += [
            ["stream_offset_out_of_log"],
            sorted(["stream_offset_out_of_log", *possible[0]]),
        ]
    assert sorted(reasons) in possible
    rows = live.rows("SELECT DISTINCT stream_id FROM lalafo.ads WHERE ad_id LIKE 'new-%%'")
    assert (stream_id or after,) in rows
    assert topic in live.rows("SELECT detail FROM lalafo.failures")[0][0]
