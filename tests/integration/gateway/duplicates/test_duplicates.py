"""Duplicates over HTTP: which photos match where; a person's word; catalogs stay apart."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from gateway.client import LalafoClient
from gateway.edge.keys import make
from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from tests.conftest import connect_args
from tests.support.duplicate_ads import (
    Shop,
    find_all,
    finder_epoch,
    mirrored,
    photo_of,
    shop_of,
)
from tests.support.gateway_live import live_gateway

WHOLE = [[0, 0], [1, 0], [1, 1], [0, 1]]


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Leases are alive while it is open."""
    url = connect_args(database.url.render_as_string())
    with psycopg.connect(**url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def shop(database: Database, connection: psycopg.Connection[Any], tmp_path: Path) -> Shop:
    return shop_of(database, connection, PhotoStore(str(tmp_path / "store"), fsync=False))


@pytest.fixture
def find(shop: Shop, connection: psycopg.Connection[Any]) -> Callable[[], object]:
    """Looks at all ads that are queued or missing."""
    epoch = finder_epoch(connection)
    return lambda: find_all(shop.database, shop.store, epoch)


@pytest.fixture
def client(database: Database, tmp_path: Path) -> Iterator[httpx.Client]:
    settings = Settings.model_validate(
        {"home": tmp_path, "database_url": database.url.render_as_string()}
    )
    with live_gateway(settings) as gateway, httpx.Client(base_url=gateway.url) as client:
        key = make(database, "reader", scopes=["read", "feedback"]).text
        client.headers["X-API-Key"] = key
        yield client


def kind_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def duplicates(client: httpx.Client, ad_id: str, **parameters: object) -> dict[str, Any]:
    answer = client.get(f"/v1/ads/kg/{ad_id}/duplicates", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page: dict[str, Any]) -> list[str]:
    return [found["ad_id"] for found in page["duplicates"]]


def test_photos_that_match_are_named_with_their_places(
    shop: Shop, find: Callable[[], object], client: httpx.Client
) -> None:
    """By position, from both sides; the regions are those of each side's photo."""
    shop.add("turned", mirrored(photo_of(1)))
    shop.put("a/1", "p9", "p1", seller="s-1", title="a chair")
    assert duplicates(client, "a/1")["state"] == "off"
    find()
    alone = duplicates(client, "a/1")
    assert alone["state"] == "decided"
    assert (alone["group"], alone["duplicates"], alone["next"]) == (None, [], None)
    shop.put("2", "turned", seller="s-2", title="a chair", price=None)
    shop.put("3", "p1", title="a chair")
    assert duplicates(client, "2")["state"] == "waiting"
    find()
    page = duplicates(client, "a/1")
    assert page["ad"] == {"catalog": "kg", "ad_id": "a/1"}
    assert page["group"] == {"id": {"catalog": "kg", "ad_id": "2"}, "ads": 3}
    found = {it["ad_id"]: it for it in page["duplicates"]}
    assert set(found) == {"2", "3"}
    (copy,) = found["3"]["photos"]
    assert copy == {
        **{"position": 1, "sha256": shop.sha256("p1").hex()},
        **{"other_position": 0, "other_sha256": shop.sha256("p1").hex()},
        **{"verdict": "exact", "probability": 1.0, "changes": []},
        **{"region": WHOLE, "other_region": WHOLE},
    }
    (turned,) = found["2"]["photos"]
    assert (turned["verdict"], "mirrored" in turned["changes"]) == ("altered", True)
    left, right = turned["region"][0][0], turned["other_region"][0][0]
    assert abs(left - (1 - right)) < 0.05, "the same corner, in a mirror"
    outcomes = {reason["outcome"]: reason["weight"] for reason in found["2"]["reasons"]}
    assert outcomes["equal_title"] > 0 > outcomes["other_seller"]
    assert (found["2"]["verdict"], found["2"]["judged_by_person"]) == ("altered", False)
    (back,) = [it for it in duplicates(client, "2")["duplicates"] if it["ad_id"] == "a/1"]
    (other_way,) = back["photos"]
    assert other_way["region"] == turned["other_region"]
    assert other_way["other_region"] == turned["region"]
    assert found["2"]["links"]["self"] == "/v1/ads/kg/2"


def test_pages_follow_each_other(
    shop: Shop, find: Callable[[], object], client: httpx.Client
) -> None:
    """Each duplicate once; a cursor of another list is refused."""
    for number in range(9):
        shop.put(f"{number}", "p1", title="a chair" if number % 2 else "another thing")
    find()
    seen: list[str] = []
    cursor = None
    for _ in range(4):
        page = duplicates(client, "0", limit=3, **({} if cursor is None else {"cursor": cursor}))
        seen += ids(page)
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(seen) == list("12345678")
    wrong = client.get("/v1/ads/kg/0/duplicates", params={"cursor": "WzFd"})
    assert kind_of(wrong) == (422, "bad_cursor")


def test_what_is_gone_is_not_shown(
    shop: Shop, find: Callable[[], object], client: httpx.Client
) -> None:
    """From the commit on, before any finder has seen it."""
    for ad_id in "1234":
        shop.put(ad_id, "p1", title="a chair")
    find()
    assert set(ids(duplicates(client, "2"))) == set("134")
    shop.delete("1")
    shop.put("3", "p2", title="a chair")
    page = duplicates(client, "2")
    assert ids(page) == ["4"]
    assert page["group"]["id"]["ad_id"] != "1"
    assert kind_of(client.get("/v1/ads/kg/1/duplicates")) == (404, "no_such_ad")
    assert kind_of(client.get("/v1/ads/kg/none/duplicates")) == (404, "no_such_ad")
    find()
    assert duplicates(client, "2")["group"] == {"id": {"catalog": "kg", "ad_id": "2"}, "ads": 2}


def test_a_person_judges(shop: Shop, find: Callable[[], object], client: httpx.Client) -> None:
    """At once for the pair, and with the finder for the groups; sent twice, it is once."""
    for ad_id, photo in (("1", "p1"), ("2", "p1"), ("3", "p3")):
        shop.put(ad_id, photo)
    find()

    def judge(other: str, same: object, **more: object) -> httpx.Response:
        body = {"other": {"catalog": "kg", "ad_id": other}, "same": same, **more}
        return client.post("/v1/ads/kg/1/duplicates/feedback", json=body)

    for _ in range(2):
        answer = judge("2", False)
        assert answer.json() == {
            **{"ad": {"catalog": "kg", "ad_id": "1"}, "other": {"catalog": "kg", "ad_id": "2"}},
            **{"same": False, "given_by": "reader"},
        }
        assert ids(duplicates(client, "1")) == []
    assert judge("3", True, given_by="moderator-7").json()["given_by"] == "moderator-7"
    find()
    (found,) = duplicates(client, "1")["duplicates"]
    assert (found["ad_id"], found["judged_by_person"], found["verdict"]) == ("3", True, None)
    assert duplicates(client, "3")["group"] == {"id": {"catalog": "kg", "ad_id": "1"}, "ads": 2}
    with LalafoClient(str(client.base_url), key=client.headers["X-API-Key"]) as caller:
        assert caller.judge_duplicate("kg", "2", "1", same=True).other.ad_id == "1"
        page = caller.duplicates("kg", "1", limit=1)
        assert (page.duplicates[0].ad_id, page.next is not None) == ("2", True)
    with shop.database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.duplicate_labels")
        assert cursor.fetchone() == (2,)
    assert kind_of(judge("1", True)) == (422, "same_ad")
    assert kind_of(judge("none", True)) == (404, "no_such_ad")
    assert judge("2", "yes").status_code == 422


def test_a_key_of_one_catalog_judges_and_sees_nothing_of_another(
    shop: Shop, find: Callable[[], object], client: httpx.Client, database: Database
) -> None:
    """Neither the ad, nor the other ad; a pair of two catalogs is refused for every key."""
    for catalog in ("kg", "kz"):
        for ad_id in "12":
            shop.put(ad_id, "p1", catalog=catalog)
    find()
    text = make(database, "kz", scopes=["read", "feedback"], catalogs=["kz"]).text
    headers = {"X-API-Key": text}
    assert kind_of(client.get("/v1/ads/kg/1/duplicates", headers=headers))[0] == 403
    page = client.get("/v1/ads/kz/1/duplicates", headers=headers).json()
    assert {(it["catalog"], it["ad_id"]) for it in page["duplicates"]} == {("kz", "2")}
    body = {"other": {"catalog": "kg", "ad_id": "1"}, "same": True}
    path = "/v1/ads/kz/1/duplicates/feedback"
    assert kind_of(client.post(path, json=body, headers=headers))[0] == 403
    assert kind_of(client.post(path, json=body)) == (422, "two_catalogs")
    reader = {"X-API-Key": make(database, "only reads", scopes=["read"]).text}
    assert kind_of(client.post(path, json=body, headers=reader)) == (403, "scope")
