"""Accepted events reach Kafka through outages: none is lost, and duplicates are harmless."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from lalafo_assets.demo.photo_host import PhotoHost
from ops.models.release import Release
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import Settings
from tests.conftest import BrokerUnderTest
from tests.integration.resources.sessions.test_outages import settings_for
from tests.support.gateway_live import live_gateway
from tests.support.live_session import ad, live_parts
from tests.support.odd_photos import jpeg, noisy
from tests.support.topic_records import everything_on
from tests.support.working_sessions import Working, until

ADS = 1_000


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that a test may stop. It loses its topics then, so it is started only once."""
    server = EmbeddedBroker(tmp_path / "broker")
    yield server
    server.stop()


def settings_of(
    database: Database, broker: EmbeddedBroker, tmp_path: Path, **changes: object
) -> Settings:
    return BrokerUnderTest("embedded", broker.exports()).settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        gateway_auth="off",
        **changes,
    )


def pending(database: Database) -> int:
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.outbox")
        return int(cursor.fetchall()[0][0])


def leave_rows(database: Database, topic: str, count: int) -> None:
    """Write outbox rows that a gateway left behind some time ago."""
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.outbox (topic, key, value, created_at) "
            "SELECT %s, convert_to('kg/' || n, 'UTF8'), convert_to('value ' || n, 'UTF8'), "
            "now() - interval '1 minute' FROM generate_series(1, %s) AS n",
            (topic, count),
        )


def test_rows_that_were_left_behind_are_published_at_start(
    database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """Two gateways share one table with 3,000 rows: each record is published once, and no row is
    left."""
    settings = settings_of(database, embedded_broker, tmp_path)
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics()
        leave_rows(database, settings.ads_topic, 3_000)
        with live_gateway(settings), live_gateway(settings):
            until(lambda: pending(database) == 0)
        found = [record.value for record in everything_on(stream, settings.ads_topic)]
    assert (len(found), len(set(found))) == (3_000, 3_000)


def test_a_broker_that_is_unavailable_at_start(
    database: Database, own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """Ads are accepted and readable, but not published; their records stay in the outbox."""
    own_broker.start()
    settings = settings_of(database, own_broker, tmp_path)
    own_broker.stop()
    with live_gateway(settings) as gateway, httpx.Client(base_url=gateway.url) as client:
        for number in range(5):
            answer = client.post("/v1/ads", json={"catalog": "kg", "ad_id": str(number)})
            assert (answer.status_code, answer.json()["published"]) == (202, False)
        assert client.get("/v1/ads/kg/3").json()["status"] == "received"
        assert pending(database) == 5
        outbox = gateway.app.state.services.outbox
        until(lambda: outbox.waiting == 5)
        assert outbox.broker_unavailable


def test_ads_are_refused_while_a_required_broker_is_unavailable(
    database: Database, own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """202 while it is available; then 503 with Retry-After, and nothing is written."""
    own_broker.start()
    settings = settings_of(database, own_broker, tmp_path, require_broker=True)
    body = {"catalog": "kg", "ad_id": "1"}
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics()
    with live_gateway(settings) as gateway, httpx.Client(base_url=gateway.url) as client:
        until(lambda: client.post("/v1/ads", json=body).status_code == 202)
        own_broker.stop()
        until(lambda: client.post("/v1/ads", json=body).status_code == 503)
        with database.cursor() as cursor:
            cursor.execute("DELETE FROM lalafo.accepted_ads")
        refused = client.post("/v1/ads", json=body)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert "Kafka" in refused.json()["detail"] and "127.0.0.1" not in refused.text
        assert client.delete("/v1/ads/kg/1").status_code == 503
        feedback = {"label": "chair", "given_by": "m"}
        assert client.post("/v1/ads/kg/1/feedback", json=feedback).status_code == 503
        assert client.get("/v1/ads/kg/1").status_code == 404
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.accepted_ads")
        assert cursor.fetchall() == [(0,)]


@pytest.mark.kafka
def test_a_thousand_ads_while_the_broker_stops_and_starts(
    tmp_path: Path, database: Database, release: Release, kafka_server: KafkaServer
) -> None:
    """Each ad is scored exactly once; an event that was published twice has no further effect."""
    settings = settings_for(tmp_path, database, kafka_server.exports(), "ads-gateway-outage")
    settings = settings.model_copy(update={"gateway_auth": "off"})
    photos = [jpeg(noisy(80, 60, seed)) for seed in range(2)]
    with (
        PhotoHost(tmp_path / "photos") as host,
        AdStream.from_settings(settings) as stream,
    ):
        live = live_parts(database, settings, stream, host, release)
        with (
            live_gateway(settings) as gateway,
            httpx.Client(base_url=gateway.url, timeout=60) as client,
            Working(live) as worker,
        ):
            until(lambda: worker.partitions)
            shas = [client.post("/v1/photos", content=data).json()["sha256"] for data in photos]
            posted = threading.Semaphore(0)

            def post(number: int) -> bool:
                body = ad(str(number), [], photos=[{"sha256": shas[number % 2]}])
                fields = ("catalog", "ad_id", "revision", "title", "photos")
                answer = client.post("/v1/ads", json={name: body[name] for name in fields})
                assert answer.status_code == 202, answer.text
                posted.release()
                return bool(answer.json()["published"])

            with ThreadPoolExecutor(8) as pool:
                posts = [pool.submit(post, number) for number in range(ADS)]
                for _ in range(300):
                    posted.acquire()
                kafka_server.stop()
                for _ in range(300):
                    posted.acquire()
                kafka_server.start()
                published = Counter(one.result() for one in posts)
            worker.wait_for(ADS)
            until(lambda: pending(database) == 0)
        assert worker.error is None, worker.error
        assert worker.total is not None and worker.total.unaccounted == 0
        assert published[True] > 0 and published[False] > 0, f"published: {published}"
        written = live.rows(
            "SELECT count(*), count(DISTINCT a.ad_id), count(p.ad_id) FROM lalafo.ads AS a "
            "LEFT JOIN lalafo.predictions AS p USING (catalog, ad_id, revision) "
            "WHERE a.status = 'scored'"
        )
        assert written == [(ADS, ADS, ADS)]
        assert live.rows("SELECT count(*) FROM lalafo.failures") == [(0,)]
        # A duplicate event has the same revision and is not announced again.
        scored = Counter(r.key for r in everything_on(stream, stream.config.scored_topic))
        assert len(scored) == ADS
        events = [json.loads(r.value or b"") for r in everything_on(stream, settings.ads_topic)]
        assert {event["ad_id"] for event in events} == {str(number) for number in range(ADS)}


def test_ads_that_a_broker_has_lost_are_scored_after_all(
    database: Database, own_broker: EmbeddedBroker, release: Release, tmp_path: Path
) -> None:
    """A broker acknowledges ads, an uploaded photo's and a deletion too, and ends with them: the
    next gateway publishes them again."""
    own_broker.start()
    before = settings_of(database, own_broker, tmp_path)
    with live_gateway(before) as gateway, httpx.Client(base_url=gateway.url) as client:
        until(lambda: not gateway.app.state.services.outbox.broker_unavailable)
        sha256 = client.post("/v1/photos", content=jpeg(noisy(80, 60, 1))).json()["sha256"]
        for number in range(20):
            body = {"catalog": "kg", "ad_id": str(number), "photos": [{"sha256": sha256}]}
            assert client.post("/v1/ads", json=body).status_code == 202
        assert client.delete("/v1/ads/kg/19").status_code == 202
        until(lambda: pending(database) == 0)
    own_broker.stop()
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.accepted_ads SET accepted_at = now() - interval '2 minutes'")
    with ExitStack() as opened:
        another = EmbeddedBroker(tmp_path / "another")
        opened.callback(another.stop)
        another.start()
        host = opened.enter_context(PhotoHost(tmp_path))
        settings = settings_of(database, another, tmp_path, ads_topic=before.ads_topic)
        with AdStream.from_settings(settings) as stream:
            stream.ensure_topics()
            live = live_parts(database, settings, stream, host, release)
            with live_gateway(settings) as gateway, Working(live) as worker:
                worker.wait_for(20)
                metrics = httpx.get(f"{gateway.url}/metrics").text
                assert "lalafo_gateway_republished_total 20.0" in metrics
                statuses = live.rows("SELECT status, count(*) FROM lalafo.ads GROUP BY 1")
                assert dict(statuses) == {"deleted": 1, "scored": 19}
