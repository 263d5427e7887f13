"""Accepting ads: equal requests produce one event, however often they are sent."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import Settings
from tests.conftest import BrokerUnderTest
from tests.support.gateway_live import LiveGateway, live_gateway
from tests.support.topic_records import everything_on
from tests.support.working_sessions import until

AD = {"catalog": "kg", "ad_id": "a/1", "title": "A chair", "price": "12.50", "photos": []}


@pytest.fixture
def settings(database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path) -> Settings:
    broker = BrokerUnderTest("embedded", embedded_broker.exports())
    return broker.settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        gateway_auth="off",
        max_wait_s=1.0,
    )


@pytest.fixture
def gateway(settings: Settings) -> Iterator[LiveGateway]:
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics()
    with live_gateway(settings) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield client


@pytest.fixture
def events(settings: Settings) -> Iterator[Callable[[], list[dict]]]:
    """The events on the topic, in order of partition and offset."""
    with AdStream.from_settings(settings) as stream:
        yield lambda: [json.loads(r.value) for r in everything_on(stream, settings.ads_topic)]


def rows(database: Database, query: str) -> list[tuple]:
    with database.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_an_accepted_ad_is_published_to_the_topic(
    client: httpx.Client, events: Callable[[], list[dict]], database: Database
) -> None:
    """202 with links and `published`; the event has the ad's key; the outbox is empty again."""
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


def test_a_new_revision_is_watched_for_losses_from_the_beginning(
    client: httpx.Client, database: Database
) -> None:
    """The topic may have lost the revision before many times: that delays no look at this one."""
    assert client.post("/v1/ads", json={**AD, "revision": 1}).status_code == 202
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.accepted_ads SET republished = 9, recheck_at = now() + interval '9 hour'"
        )
    assert client.post("/v1/ads", json={**AD, "revision": 2}).status_code == 202
    query = "SELECT revision, republished, recheck_at FROM lalafo.accepted_ads"
    assert rows(database, query) == [(2, 0, None)]


def test_a_repeat_does_not_create_a_second_event(
    client: httpx.Client, events: Callable[[], list[dict]]
) -> None:
    """The same revision with the same content gets the same 202, with other content 409; a lower
    revision is `superseded`."""
    for _ in range(3):
        answer = client.post("/v1/ads", json={**AD, "revision": 7})
        assert (answer.status_code, answer.json()["state"]) == (202, "accepted")
    taken = client.post("/v1/ads", json={**AD, "revision": 7, "title": "A lamp"})
    assert (taken.status_code, taken.json()["known_revision"]) == (409, 7)
    assert taken.json()["type"] == "urn:lalafo:problem:revision_taken"
    late = client.post("/v1/ads", json={**AD, "revision": 6})
    assert (late.status_code, late.json()["state"]) == (200, "superseded")
    assert (late.json()["revision"], late.json()["known_revision"]) == (6, 7)
    assert len(events()) == 1
    assert client.post("/v1/ads", json={**AD, "revision": 8}).status_code == 202
    assert [event["revision"] for event in events()] == [7, 8]


def test_a_repeat_is_recognized_by_the_committed_rows(
    client: httpx.Client, database: Database, events: Callable[[], list[dict]]
) -> None:
    """After the row in `accepted_ads` is deleted, the ad's committed rows are compared."""
    photo = {"url": "https://p.example/1.jpg"}
    ad = {**AD, "revision": 7, "currency": "KGS", "photos": [photo]}
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, "
            "price, currency, event_id, occurred_at, kafka_at, received_at, stream_id, topic, "
            "partition, \"offset\", run_id) VALUES ('kg', 'a/1', 7, now(), 'unscored', 'A chair', "
            "'', 12.5, 'KGS', 'e', now(), now(), now(), 's', 'ads', 0, 0, 'r')"
        )
        cursor.execute(
            "INSERT INTO lalafo.ad_photos VALUES "
            "('kg', 'a/1', 0, 'https://p.example/1.jpg', NULL, 'fetch_timeout', 7, 'r')"
        )
    assert client.post("/v1/ads", json=ad).status_code == 202
    assert client.post("/v1/ads", json={**ad, "price": 13}).status_code == 409
    assert client.post("/v1/ads", json={**ad, "revision": 6}).status_code == 200
    assert events() == []
    unnumbered = client.post("/v1/ads", json={**AD, "title": "Without a revision"}).json()
    assert unnumbered["state"] == "accepted" and unnumbered["revision"] > 1_700_000_000_000_000


def test_without_a_revision_each_request_gets_the_next_one(
    client: httpx.Client, events: Callable[[], list[dict]], database: Database
) -> None:
    """Also if the known revision is the highest that a caller may send, and for concurrent
    requests: no revision makes an ad unchangeable."""
    ahead = 2**62
    assert client.post("/v1/ads", json={**AD, "revision": ahead}).status_code == 202
    answer = client.post("/v1/ads", json={**AD, "title": "next"})
    assert answer.json()["revision"] == ahead + 1
    with ThreadPoolExecutor(4) as pool:
        posts = [
            pool.submit(client.post, "/v1/ads", json={**AD, "title": str(n)}) for n in range(4)
        ]
        found = sorted(post.result().json()["revision"] for post in posts)
    assert found == [ahead + 2 + n for n in range(4)]
    assert len(events()) == 6
    assert all(event["revision_assigned"] for event in events() if event["revision"] > ahead)
    deletion = client.delete("/v1/ads/kg/a/1").json()
    assert (deletion["state"], deletion["revision"]) == ("accepted", ahead + 6)
    assert rows(database, "SELECT revision FROM lalafo.accepted_ads") == [(ahead + 6,)]


@pytest.mark.parametrize("revision", [2**62 + 1, 2**63 - 1, 2**63, -1])
def test_a_revision_outside_the_bounds_is_refused(client: httpx.Client, revision: int) -> None:
    """Posted or deleted: 422, and the message states the bound."""
    posted = client.post("/v1/ads", json={**AD, "revision": revision})
    deleted = client.delete("/v1/ads/kg/a/1", params={"revision": revision})
    for answer in (posted, deleted):
        assert answer.status_code == 422
        assert f"from 0 to {2**62} (2^62)" in answer.json()["detail"]


def test_an_idempotency_key_is_accepted_once(
    client: httpx.Client, events: Callable[[], list[dict]], database: Database
) -> None:
    """Repeats, also concurrent ones, get the same response and create no second event; another
    request with the same key is refused."""
    headers = {"Idempotency-Key": "order 66"}

    def post(_: int) -> httpx.Response:
        return client.post("/v1/ads", json=AD, headers=headers)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(post, range(12)))
    assert {a.status_code for a in answers} == {202}
    assert len({a.json()["revision"] for a in answers}) == 1
    assert (
        sorted(a.headers.get("Idempotency-Replayed", "") for a in answers) == [""] + ["true"] * 11
    )
    assert len(events()) == 1
    until(lambda: rows(database, "SELECT count(*) FROM lalafo.outbox") == [(0,)])
    assert {tuple(a.json()) for a in answers} == {tuple(answers[0].json())}  # also the order
    assert post(0).json()["published"] is True
    other = client.post("/v1/ads", json={**AD, "title": "other"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (
        *(422, "urn:lalafo:problem:idempotency_key_reused"),
    )
    other = client.delete("/v1/ads/kg/a/1", headers=headers)
    assert other.status_code == 422
    taken = {"Idempotency-Key": "late"}
    for replayed in (None, "true"):
        late = client.post("/v1/ads", json={**AD, "revision": 1}, headers=taken)
        assert (late.status_code, late.json()["state"]) == (200, "superseded")
        assert late.headers.get("Idempotency-Replayed") == replayed


def test_a_deletion_is_an_event(client: httpx.Client, events: Callable[[], list[dict]]) -> None:
    """Of a known or an unknown ad; a lower revision that arrives later has no effect."""
    assert client.post("/v1/ads", json={**AD, "revision": 3}).status_code == 202
    deleted = client.delete("/v1/ads/kg/a/1", params={"revision": 4})
    assert (deleted.status_code, deleted.json()["revision"]) == (202, 4), deleted.text
    assert client.delete("/v1/ads/kg/a/1?revision=4").status_code == 202
    assert client.post("/v1/ads", json={**AD, "revision": 4}).status_code == 409
    assert client.delete("/v1/ads/kg/unknown").json()["state"] == "accepted"
    assert client.delete("/v1/ads/kg/unknown?revision=1").json()["state"] == "superseded"
    assert client.delete("/v1/ads/kg/a/1?revision=-1").status_code == 422
    assert client.delete("/v1/ads/kg/%00").status_code == 422
    kinds = [(e["ad_id"], e["kind"], e["revision"]) for e in events() if e["ad_id"] == "a/1"]
    assert kinds == [("a/1", "upserted", 3), ("a/1", "deleted", 4)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (json.dumps({**AD, "titel": "x"}).encode(), "titel"),
        (json.dumps({**AD, "price": "1e400"}).encode(), "price"),
        (json.dumps({**AD, "price": "999999999999999.999"}).encode(), "price"),
        (json.dumps({**AD, "price": True}).encode(), "price"),
        (json.dumps({**AD, "revision": "7"}).encode(), "revision"),
        (json.dumps({**AD, "revision": 2**63}).encode(), "revision"),
        (json.dumps({**AD, "catalog": "k/g"}).encode(), "catalog"),
        (json.dumps({**AD, "title": "\ud800"}).encode(), "title"),
        (json.dumps({**AD, "title": "x" * 1_001}).encode(), "title"),
        (json.dumps({**AD, "occurred_at": "2026-01-01T00:00:00"}).encode(), "occurred_at"),
        (json.dumps({**AD, "photos": [{}]}).encode(), "photos[0]"),
        (json.dumps({**AD, "photos": [{"sha256": "00"}]}).encode(), "sha256"),
        (json.dumps({**AD, "photos": [{"url": "http://p.example/"}] * 51}).encode(), "51 photos"),
    ],
)
def test_an_invalid_ad_is_refused_by_field(
    client: httpx.Client, database: Database, body: bytes, field: str
) -> None:
    """422 that names the field; nothing is written."""
    answer = client.post("/v1/ads", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert field in answer.text
    assert rows(database, "SELECT count(*) FROM lalafo.accepted_ads") == [(0,)]


def test_an_event_that_is_too_large_for_a_record_is_refused(
    settings: Settings, database: Database
) -> None:
    """Each field is within its limit, but the whole event would stay in the outbox permanently."""
    photos = [{"url": f"http://p.example/{number}" + "\x01" * 4_000} for number in range(50)]
    wide = settings.model_copy(update={"max_json_bytes": 3_000_000})
    with live_gateway(wide) as gateway, httpx.Client(base_url=gateway.url, timeout=60) as client:
        assert client.post("/v1/ads", json={**AD, "photos": photos[:40]}).status_code == 202
        answer = client.post("/v1/ads", json={**AD, "photos": photos})
        assert (answer.status_code, answer.json()["allowed"]) == (413, 2**20)
    assert rows(database, "SELECT count(*) FROM lalafo.accepted_ads") == [(1,)]


def test_wait_is_limited(
    client: httpx.Client, gateway: LiveGateway, database: Database, settings: Settings
) -> None:
    """Without a session: 202 after the requested time, and after max_wait_s at most."""
    answer = client.post("/v1/ads?wait=0.2", json=AD)
    assert (answer.status_code, answer.json()["state"]) == (202, "accepted")
    assert client.post("/v1/ads?wait=1e9", json=AD).status_code == 202  # max_wait_s later
    assert client.post("/v1/ads?wait=nan", json=AD).status_code == 422


def test_nothing_is_accepted_without_postgresql(
    settings: Settings, events: Callable[[], list[dict]]
) -> None:
    """503 with Retry-After, and nothing on the topic."""
    down = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:9/nothing"})
    with live_gateway(down) as gateway, httpx.Client(base_url=gateway.url, timeout=60) as client:
        answer = client.post("/v1/ads", json=AD)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2"), answer.text
        assert "127.0.0.1" not in answer.text and "nothing" not in answer.json().get("title", "")
        assert client.delete("/v1/ads/kg/1").status_code == 503
    assert events() == []


def test_accepting_is_one_statement_by_primary_keys(
    client: httpx.Client, database: Database
) -> None:
    """Its plan uses an index for every table, however many rows there are."""
    from gateway.intake.statements import ACCEPT

    values = {
        **{"catalog": "kg", "ad_id": "x", "revision": 1, "event": "{}", "digest": b"", "by": "k"},
        **{"idempotency_key": "i", "request": b"", "answer": "[]", "named": [b"1" * 32]},
        **{"topic": "t", "key": b"", "value": b"", "traceparent": None},
    }
    with database.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # small tables would be scanned
        cursor.execute("EXPLAIN (FORMAT JSON) " + ACCEPT, values)
        plan = json.dumps(cursor.fetchall()[0][0])
    assert "Seq Scan" not in plan
