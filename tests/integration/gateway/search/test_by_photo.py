"""Searches by photos that no ad has: uploaded, or at an address; embedded by the worker."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from gateway.client import LalafoClient
from gateway.client.errors import Refused
from gateway.edge.keys import make
from gateway.search import photos
from tests.support.gateway_live import live_gateway
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.photo_search_worker import photo_search_worker
from tests.support.vector_ads import built_index
from tests.support.working_sessions import until

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)

ADS = 6


@pytest.fixture
def indexed(live: Live) -> Iterator[Live]:
    """Six ads with a photo each, in the index."""
    urls = [live.photo(f"{n}.jpg", jpeg(noisy(80, 60, n))) for n in range(ADS)]
    live.publish(*(ad(f"{n}", [url]) for n, url in enumerate(urls)))
    live.drain()
    with built_index(live.database):
        yield live


@pytest.fixture
def address(indexed: Live) -> Iterator[str]:
    """Of a gateway beside a worker."""
    with (
        live_gateway(indexed.settings) as gateway,
        photo_search_worker(indexed.database, indexed.settings),
    ):
        yield gateway.url


@pytest.fixture
def client(indexed: Live, address: str) -> Iterator[LalafoClient]:
    key = make(indexed.database, "reader", scopes=["read"]).text
    with LalafoClient(address, key=key, patience_s=30) as client:
        yield client


def test_a_copy_of_an_ad_s_photo_finds_the_ad(indexed: Live, client: LalafoClient) -> None:
    """As an upload and by its address; other bytes than the ad's photo, the same pixels nearly."""
    copy = jpeg(noisy(80, 60, 3), quality=80)
    by_upload = client.search_by_photo(copy, limit=2)
    assert by_upload.ads[0].ad_id == "3"
    assert by_upload.ads[0].similarity > by_upload.ads[1].similarity
    assert by_upload.sha256 == hashlib.sha256(copy).hexdigest()
    by_url = client.search({"url": indexed.photo("copy.jpg", copy), "limit": 2})
    assert by_url == by_upload
    page = client.search({"sha256": by_upload.sha256, "limit": 1})
    rest = client.search({"sha256": by_upload.sha256, "limit": 10, "cursor": page.next})
    assert [one.ad_id for one in page.ads + rest.ads][:2] == [one.ad_id for one in by_upload.ads]
    assert len(page.ads + rest.ads) == ADS
    (asked,) = indexed.rows("SELECT count(*) FROM lalafo.photo_searches")
    assert asked[0] == 2, "a vector that is known is used again"
    assert indexed.rows("SELECT count(*) FROM lalafo.photos") == [(ADS,)], "nothing of it is kept"


def test_a_stored_photo_s_vector_is_used(indexed: Live, client: LalafoClient) -> None:
    found = client.search_by_photo(jpeg(noisy(80, 60, 3)), limit=1)
    assert found.ads[0].ad_id == "3"
    assert found.ads[0].similarity == pytest.approx(1, abs=2e-3)
    assert indexed.rows("SELECT count(*) FROM lalafo.photo_searches") == [(0,)]


def test_a_photo_that_can_t_be_used_is_refused_with_the_reason(
    indexed: Live, client: LalafoClient
) -> None:
    for body, reason in (
        (jpeg(Image.new("RGB", (80, 60))), "photo_blank"),
        (jpeg(Image.new("RGB", (80, 60), (200, 40, 40))), "photo_blank"),
        (jpeg(noisy(80, 60, 1))[:700], "photo_truncated"),
        (jpeg(noisy(8, 8, 1)), "photo_too_small"),
    ):
        with pytest.raises(Refused, match=f"422 photo_not_usable.*{reason}"):
            client.search_by_photo(body)
    with pytest.raises(Refused, match=r"422 photo_not_usable.*fetch_not_found"):
        client.search({"url": indexed.host.url("nowhere.jpg")})
    with pytest.raises(Refused, match=r"415 not_a_photo"):
        client.search_by_photo(b"<html>no photo at all, whatever its name</html>")


def test_a_slow_host_delays_no_other_search(indexed: Live, client: LalafoClient) -> None:
    """The photo of one search never ends; another search has its answer meanwhile."""
    indexed.photo("drips.jpg", jpeg(noisy(900, 700, 1)))
    slow = indexed.host.url("drips.jpg", path="slow")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.search, {"url": slow})
        asked = "SELECT count(*) FROM lalafo.photo_searches WHERE taken_at IS NOT NULL"
        until(lambda: indexed.rows(asked) == [(1,)])
        found = client.search_by_photo(jpeg(noisy(80, 60, 3), quality=70), limit=1)
        assert found.ads[0].ad_id == "3"
        assert not waiting.done()
        with pytest.raises(Refused, match="fetch_timeout"):
            waiting.result()


def test_another_key_s_upload_can_t_be_searched_by(
    indexed: Live, client: LalafoClient, address: str
) -> None:
    sha256 = client.search_by_photo(jpeg(noisy(80, 60, 77))).sha256
    other = make(indexed.database, "other", scopes=["read"]).text
    answer = httpx.post(
        f"{address}/v1/search", json={"sha256": sha256}, headers={"X-API-Key": other}, timeout=60
    )
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:lalafo:problem:no_such_photo")


def test_without_a_worker_the_answer_says_what_to_do(
    indexed: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photos, "WITHIN_S", 0.2)
    with live_gateway(indexed.settings) as gateway:
        key = make(indexed.database, "reader", scopes=["read"]).text
        answer = httpx.post(
            f"{gateway.url}/v1/search/photo",
            content=jpeg(noisy(80, 60, 3), quality=50),
            headers={"X-API-Key": key},
            timeout=60,
        )
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:lalafo:problem:no_indexer")
    assert "Retry-After" in answer.headers
    assert "LALAFO_SIMILAR_ADS" in answer.json()["detail"]
