"""Accepting ads: one event for what was meant once, whoever sends it how often, or none at all."""

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


def test_a_repeat_is_no_second_event(
    client: httpx.Client, events: Callable[[], list[dict]]
) -> None:
    """The same revision with the same content is the same 202; with other content it is 409; a
    lower one is told that it changes nothing."""
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


def test_a_repeat_is_known_by_what_was_committed(
    client: httpx.Client, database: Database, events: Callable[[], list[dict]]
) -> None:
    """Also after the accepted row has gone: the ad's own rows tell whether it is the same."""
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


def test_without_a_revision_each_is_the_next(
    client: httpx.Client, events: Callable[[], list[dict]], database: Database
) -> None:
    """Even where the known one is ahead of the clock, and where many come at once."""
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
    highest = 2**63 - 1
    assert client.post("/v1/ads", json={**AD, "revision": highest}).status_code == 202
    assert client.post("/v1/ads", json=AD).status_code == 409
    assert rows(database, "SELECT revision FROM lalafo.accepted_ads") == [(highest,)]


def test_a_key_of_the_callers_is_answered_once(
    client: httpx.Client, events: Callable[[], list[dict]], database: Database
) -> None:
    """The same answer and no second event, also of requests side by side; another request under
    the same key is refused."""
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
    """Of an ad that is known, or not: what comes late under a lower revision changes nothing."""
    assert client.post("/v1/ads", json={**AD, "revision": 3}).status_code == 202
    gone = client.delete("/v1/ads/kg/a/1", params={"revision": 4})
    assert (gone.status_code, gone.json()["revision"]) == (202, 4), gone.text
    assert client.delete("/v1/ads/kg/a/1?revision=4").status_code == 202
    assert client.post("/v1/ads", json={**AD, "revision": 4}).status_code == 409
    assert client.delete("/v1/ads/kg/unknown").json()["state"] == "accepted"
    assert client.delete("/v1/ads/kg/unknown?revision=1").json()["state"] == "superseded"
    assert client.delete("/v1/ads/kg/a/1?revision=-1").status_code == 422
    assert client.delete("/v1/ads/kg/%00").status_code == 422
    kinds = [(e["ad_id"], e["kind"], e["revision"]) for e in events() if e["ad_id"] == "a/1"]
    assert kinds == [("a/1", "upserted", 3), ("a/1", "deleted", 4)]


@pytest.mark.parametrize(
    ("body", "said"),
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
def test_what_is_no_ad_is_refused_by_name(
    client: httpx.Client, database: Database, body: bytes, said: str
) -> None:
    """422 that names the field; nothing is written."""
    answer = client.post("/v1/ads", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert said in answer.text
    assert rows(database, "SELECT count(*) FROM lalafo.accepted_ads") == [(0,)]


def test_an_event_that_no_record_holds_is_refused(settings: Settings, database: Database) -> None:
    """Each field within its limit, and too large as a whole: it would be owed for ever."""
    photos = [{"url": f"http://p.example/{number}" + "\x01" * 4_000} for number in range(50)]
    wide = settings.model_copy(update={"max_json_bytes": 3_000_000})
    with live_gateway(wide) as gateway, httpx.Client(base_url=gateway.url, timeout=20) as client:
        assert client.post("/v1/ads", json={**AD, "photos": photos[:40]}).status_code == 202
        answer = client.post("/v1/ads", json={**AD, "photos": photos})
        assert (answer.status_code, answer.json()["allowed"]) == (413, 2**20)
    assert rows(database, "SELECT count(*) FROM lalafo.accepted_ads") == [(1,)]


def test_an_answer_is_waited_for_and_not_longer(
    client: httpx.Client, gateway: LiveGateway, database: Database, settings: Settings
) -> None:
    """Without a session: 202 after the time; more than the most is refused."""
    answer = client.post("/v1/ads?wait=0.2", json=AD)
    assert (answer.status_code, answer.json()["state"]) == (202, "accepted")
    assert client.post("/v1/ads?wait=1e9", json=AD).status_code == 202  # max_wait_s later
    assert client.post("/v1/ads?wait=nan", json=AD).status_code == 422


def test_no_postgresql_no_promise(settings: Settings, events: Callable[[], list[dict]]) -> None:
    """503 with Retry-After, and nothing on the topic."""
    gone = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:9/nothing"})
    with live_gateway(gone) as gateway, httpx.Client(base_url=gateway.url, timeout=20) as client:
        answer = client.post("/v1/ads", json=AD)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2"), answer.text
        assert "127.0.0.1" not in answer.text and "nothing" not in answer.json().get("title", "")
        assert client.delete("/v1/ads/kg/1").status_code == 503
    assert events() == []


def test_accepting_is_one_statement_by_primary_keys(
    client: httpx.Client, database: Database
) -> None:
    """Its plan touches no table but by an index, however many rows there are."""
    from gateway.intake.statements import ACCEPT

    given = {
        **{"catalog": "kg", "ad_id": "x", "revision": 1, "event": "{}", "digest": b"", "by": "k"},
        **{"idempotency_key": "i", "request": b"", "answer": "[]", "named": [b"1" * 32]},
        **{"topic": "t", "key": b"", "value": b""},
    }
    with database.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # small tables would be scanned
        cursor.execute("EXPLAIN (FORMAT JSON) " + ACCEPT, given)
        plan = json.dumps(cursor.fetchall()[0][0])
    assert "Seq Scan" not in plan
