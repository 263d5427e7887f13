"""The lag that the gateway reports, on a topic as Apache Kafka really serves it."""

import json
from typing import Any

import httpx
import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from tests.conftest import BrokerUnderTest
from tests.support.gateway_live import LiveGateway, live_gateway
from tests.support.live_session import Live, ad
from tests.support.odd_batches import confluent
from tests.support.working_sessions import until

pytestmark = pytest.mark.kafka


@pytest.fixture
def broker(kafka_server: KafkaServer) -> BrokerUnderTest:
    return BrokerUnderTest("kafka", kafka_server.exports())


def lag(gateway: LiveGateway) -> dict[str, Any]:
    answer = httpx.get(f"{gateway.url}/v1/statistics", params={"minutes": 1})
    assert answer.status_code == 200, answer.text
    found = answer.json()["lag"]
    return found if found is not None else {"events": None, "partitions": []}


def test_the_lag_is_0_behind_a_transactions_marker_and_has_every_partition(live: Live) -> None:
    """Also where partitions are added while the gateway runs."""
    from kafka import KafkaAdminClient

    topic = live.settings.ads_topic
    producer = confluent(live.stream.config.bootstrap, transactional_id=f"{topic}-1")
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, json.dumps(ad("1", [])), key="kg/1", partition=0)
    producer.commit_transaction(20)
    with live_gateway(live.settings.model_copy(update={"gateway_auth": "off"})) as gateway:
        until(lambda: lag(gateway)["events"] == 2)
        live.drain()
        until(lambda: lag(gateway)["events"] == 0)
        admin = KafkaAdminClient(bootstrap_servers=live.stream.config.bootstrap)
        admin.create_partitions({topic: 5})
        admin.close()
        until(lambda: [p["partition"] for p in lag(gateway)["partitions"]] == [0, 1, 2, 3, 4])
        assert lag(gateway)["events"] == 0
