"""Similar ads over HTTP: by ad, by photo and by vector; catalogs stay apart; reasons, not noise."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

from gateway.client import LalafoClient
from gateway.edge.keys import make
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease, register
from resources.settings import Settings
from resources.vector_search import indexes
from tests.conftest import connect_args
from tests.support.batches import BACKBONE, sha
from tests.support.gateway_live import live_gateway
from tests.support.vector_ads import Seller, indexer_epoch, seller_of

VECTOR = np.arange(1.0, 9.0)


@pytest.fixture
def seller(database: Database) -> Iterator[Seller]:
    url = connect_args(database.url.render_as_string())
    with psycopg.connect(**url, autocommit=True) as connection:
        yield seller_of(database, connection)


@pytest.fixture
def client(database: Database, tmp_path: Path) -> Iterator[httpx.Client]:
    """Without a key: `asks` adds one."""
    settings = Settings.model_validate(
        {"home": tmp_path, "database_url": database.url.render_as_string()}
    )
    with live_gateway(settings) as gateway, httpx.Client(base_url=gateway.url) as client:
        key = make(database, "reader", scopes=["read"]).text
        client.headers["X-API-Key"] = key
        yield client


def build(seller: Seller) -> None:
    """Index all ads, as the indexer does."""
    with seller.database.connect_directly("test") as connection:
        epoch = indexer_epoch(connection)
        for index in indexes.start_missing(seller.database, epoch):
            indexes.build(seller.database, index, epoch)


def keys_of(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 200, answer.text
    return [(ad["catalog"], ad["ad_id"]) for ad in answer.json()["ads"]]


def kind_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def test_photos_of_one_colour_are_the_reason(seller: Seller, client: httpx.Client) -> None:
    """An ad with nothing else, and such a photo, are like nothing; an ad with others is found."""
    for number in range(3):
        seller.put(f"a/{number}", photos=3 if number == 2 else 1)
    blank = [sha(f"https://p.example/a/{number}/0.jpg") for number in (1, 2)]
    with seller.database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.photos SET note = 'photo_blank' WHERE sha256 = ANY(%s)", (blank,)
        )
    build(seller)
    answer = client.get("/v1/ads/kg/a/1/similar")
    assert kind_of(answer) == (409, "no_usable_photo")
    assert answer.json()["reason"] == "photo_blank"
    answer = client.post("/v1/search", json={"sha256": blank[0].hex()})
    assert kind_of(answer) == (422, "photo_not_usable")
    assert answer.json()["reason"] == "photo_blank"
    assert keys_of(client.get("/v1/ads/kg/a/2/similar")) == [("kg", "a/0")]


def test_by_ad_by_photo_and_by_vector(seller: Seller, client: httpx.Client) -> None:
    """The same order as in numpy, with pages; the ad itself is left out unless asked for."""
    for number in range(30):
        seller.put(f"a/{number}", seller=f"s-{number % 3}", category="chair" if number else None)
    build(seller)
    own = ("kg", "a/0")
    expected = [key for key in seller.nearest(seller.ads[own], 30) if key != own]
    first = client.get("/v1/ads/kg/a/0/similar", params={"limit": 10})
    body = first.json()
    assert body["exact"] is True
    assert body["backbone"] == BACKBONE
    assert body["ads"][0]["title"].startswith("ad a/")
    assert body["ads"][0]["links"]["self"] == f"/v1/ads/kg/{expected[0][1]}"
    second = client.get("/v1/ads/kg/a/0/similar", params={"limit": 25, "cursor": body["next"]})
    assert keys_of(first) + keys_of(second) == expected
    assert second.json()["next"] is None

    ad = {"catalog": "kg", "ad_id": "a/0"}
    whole = client.post("/v1/search", json={"ad": ad, "limit": 30, "include_own": True})
    assert keys_of(whole) == [own, *expected]
    others = client.post("/v1/search", json={"ad": ad, "limit": 30, "other_sellers": True})
    assert keys_of(others) == [key for key in expected if int(key[1][2:]) % 3 != 0]
    photo = sha("https://p.example/a/7/0.jpg").hex()
    by_photo = client.post("/v1/search", json={"sha256": photo, "limit": 1})
    assert keys_of(by_photo) == [("kg", "a/7")]
    assert by_photo.json()["ads"][0]["similarity"] == pytest.approx(1, abs=2e-3)
    by_vector = client.post("/v1/search", json={"vector": list(VECTOR), "limit": 5})
    assert keys_of(by_vector) == seller.nearest(VECTOR, 5)
    with LalafoClient(str(client.base_url), key=client.headers["X-API-Key"]) as caller:
        page = caller.similar("kg", "a/0", limit=10, other_sellers=True, price_to=None)
        assert [(ad.catalog, ad.ad_id) for ad in page.ads] == keys_of(others)[:10]
        assert caller.search({"ad": ad, "price_to": Decimal("1E+5"), "currency": "KGS"}).ads == []
    closer = client.post(
        "/v1/search", json={"vector": list(VECTOR), "min_similarity": 0.99, "category": "chair"}
    )
    assert all(ad["similarity"] >= 0.99 for ad in closer.json()["ads"])


def test_a_key_of_one_catalog_finds_nothing_of_another(
    seller: Seller, client: httpx.Client, database: Database
) -> None:
    """Neither as an answer, nor as what is searched by."""
    for number in range(5):
        seller.put(f"{number}", catalog="kz")
        seller.put(f"x{number}")
    build(seller)
    headers = {"X-API-Key": make(database, "kz", scopes=["read"], catalogs=["kz"]).text}

    def ask(**body: Any) -> httpx.Response:
        return client.post("/v1/search", json=body, headers=headers)

    found = ask(vector=list(VECTOR), limit=50)
    assert {catalog for catalog, _ in keys_of(found)} == {"kz"}
    assert len(keys_of(client.post("/v1/search", json={"vector": list(VECTOR)}))) == 10
    assert kind_of(ask(vector=list(VECTOR), catalog="kg"))[0] == 403
    assert kind_of(ask(ad={"catalog": "kg", "ad_id": "x0"}))[0] == 403
    assert client.get("/v1/ads/kg/x0/similar", headers=headers).status_code == 403
    photo = sha("https://p.example/x0/0.jpg").hex()
    assert kind_of(ask(sha256=photo)) == (404, "no_such_photo")


def test_each_answer_is_of_one_backbone_through_promotions(
    seller: Seller, client: httpx.Client, database: Database
) -> None:
    """Searches run while the live release changes back and forth: no error, and nothing mixed."""
    for number in range(12):
        seller.put(f"{number}")
    build(seller)
    other, name = "other-bbbbbbbbbbbb", "other-000000000002"
    register(database, RegisteredRelease(name, "f" * 64, other, {"metrics": {}}))
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.embeddings (backbone, sha256, embedding, release, run_id) "
            "SELECT %s, sha256, '[1,0]', %s, 'run-1' FROM lalafo.embeddings",
            (other, name),
        )
        cursor.execute("UPDATE lalafo.active_releases SET previous = %s", (name,))
    build(seller)
    stopped = threading.Event()
    found: list[dict[str, Any]] = []

    def search() -> None:
        while not stopped.is_set():
            answer = client.get("/v1/ads/kg/3/similar", params={"limit": 5})
            assert answer.status_code == 200, answer.text
            found.append(answer.json())

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(search) for _ in range(2)]
        for _ in range(20):
            before = len(found)
            with database.cursor() as cursor:
                cursor.execute("UPDATE lalafo.active_releases SET live = previous, previous = live")
            while len(found) < before + 3 and not any(it.done() for it in running):
                stopped.wait(0.002)
        stopped.set()
        for one in running:
            one.result()
    expected = [key for key in seller.nearest(seller.ads["kg", "3"], 6) if key[1] != "3"]
    assert {answer["backbone"] for answer in found} == {BACKBONE, other}
    for answer in found:
        similar = [ad["similarity"] for ad in answer["ads"]]
        if answer["backbone"] == other:
            assert similar == [1.0] * 5
        else:
            assert [(ad["catalog"], ad["ad_id"]) for ad in answer["ads"]] == expected


def test_no_answer_has_a_reason(seller: Seller, client: httpx.Client) -> None:
    """No index yet, an ad without photos, one that is not indexed, a zero vector, two sources."""
    similar = "/v1/ads/kg/{}/similar"
    seller.put("1")
    assert kind_of(client.get(similar.format(1))) == (409, "no_index")
    build(seller)
    seller.put("2")
    seller.delete("gone", 1)
    seller.put("plain", photos=0)
    with seller.database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.ads SET status = 'no_photos' WHERE ad_id = 'plain'")
    assert kind_of(client.get(similar.format("plain"))) == (409, "no_usable_photo")
    assert kind_of(client.get(similar.format(2))) == (409, "not_indexed")
    assert kind_of(client.get(similar.format("gone"))) == (404, "no_such_ad")
    assert kind_of(client.get(similar.format("none"))) == (404, "no_such_ad")
    assert kind_of(client.get(similar.format("1"), params={"price_from": 5})) == (
        *(422, "no_currency"),
    )
    for body, kind in (
        ({"vector": [0.0] * 8}, "zero_vector"),
        ({"vector": [1.0] * 9}, "wrong_dimension"),
        ({}, "nothing_to_search_by"),
        ({"sha256": "ab" * 32, "vector": [1.0]}, "several_to_search_by"),
        ({"vector": [1.0] * 8, "cursor": "WyJhIl0"}, "bad_cursor"),
    ):
        assert kind_of(client.post("/v1/search", json=body)) == (422, kind)
    with seller.database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.vector_indexes SET state = 'catching_up'")
    assert kind_of(client.get(similar.format(1))) == (409, "index_not_ready")


def test_searches_are_counted_by_their_answers(seller: Seller, client: httpx.Client) -> None:
    """Found, nothing found, or the reason; by an ad, a photo or a vector."""
    for number in range(2):
        seller.put(f"a/{number}")
    assert client.get("/v1/ads/kg/a/0/similar").status_code == 409  # no index yet
    build(seller)
    client.get("/v1/ads/kg/a/0/similar")
    client.get("/v1/ads/kg/a/0/similar", params={"category": "boat"})
    client.post("/v1/search", json={"sha256": sha("https://p.example/a/0/0.jpg").hex()})
    client.post("/v1/search", json={"vector": [0.0] * 8})
    client.get("/v1/ads/kg/a/0/duplicates")
    lines = client.get("/metrics").text.splitlines()
    for answer, by in (
        *(("no_index", "ad"), ("found", "ad"), ("none", "ad")),
        *(("found", "photo"), ("zero_vector", "vector")),
    ):
        assert f'lalafo_gateway_searches_total{{answer="{answer}",by="{by}"}} 1.0' in lines
    assert 'lalafo_gateway_duplicates_total{answer="off"} 1.0' in lines
