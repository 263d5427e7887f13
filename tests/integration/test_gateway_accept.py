"""Accepting ads: one event for what was meant once, whoever sends it how often, or none at all."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from resources.ad_stream import AdStream
from resources.database import Database
from resources.embedded import EmbeddedBroker
from resources.settings import Settings
from tests.conftest import BrokerUnderTest
from tests.integration.gateway_live import LiveGateway, live_gateway
from tests.integration.topics import everything_on
from tests.integration.working import until

AD = {"catalog": "kg", "ad_id": "a/1", "title": "A chair", "price": "12.50", "photos": []}


@pytest.fixture
def settings(database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path) -> Settings:
    broker = BrokerUnderTest("embedded", embedded_broker.exports())
    return broker.settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        gateway_auth="off",
        max_wait_s=2.0,
    )


@pytest.fixture
def gateway(settings: Settings) -> Iterator[LiveGateway]:
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics()
    with live_gateway(settings) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=20) as client:
        yield client


@pytest.fixture
def events(settings: Settings) -> Iterator[Callable[[], list[dict]]]:
    """What is on the topic, in order of partition and offset."""
    with AdStream.from_settings(settings) as stream:
        yield lambda: [json.loads(r.value) for r in everything_on(stream, settings.ads_topic)]


def rows(database: Database, query: str) -> list[tuple]:
    with database.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_an_accepted_ad_is_on_the_topic_as_it_was_meant(
    client: httpx.Client, events: Callable[[], list[dict]], database: Database
) -> None:
    """202 with links and published; the event under its key; nothing is owed any more."""
    answer = client.post("/v1/ads", json={**AD, "revision": 7})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == "/v1/ads/kg/a/1"
    assert answer.json() == {
        **{"catalog": "kg", "ad_id": "a/1", "revision": 7, "state": "accepted"},
        **{"known_revision": 7, "published": True},
        "links": {"self": "/v1/ads/kg/a/1", "feedback": "/v1/ads/kg/a/1/feedback"},
    }
    (event,) = events()
    assert (event["kind"], event["revision"], event["title"]) == ("upserted", 7, "A chair")
    assert event["price"] == "12.50"
    until(lambda: rows(database, "SELECT count(*) FROM lalafo.outbox") == [(0,)])
    assert client.get("/v1/ads/kg/a/1").json()["waiting"]["revision"] == 7
