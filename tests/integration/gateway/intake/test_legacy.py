"""The original API: its routes, its JSON and its errors, with a live session."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.gateway_live import live_gateway
from tests.support.live_session import Live
from tests.support.odd_photos import jpeg, noisy
from tests.support.working_sessions import Working, until

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)

ONE, TWO, THREE = (jpeg(noisy(80, 60, seed)) for seed in range(3))


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    settings = live.settings.model_copy(update={"gateway_auth": "off"})
    with live_gateway(settings) as gateway, httpx.Client(base_url=gateway.url) as client:
        client.timeout = httpx.Timeout(20)
        yield client


def photos_of(live: Live, ad_id: str) -> list[tuple]:
    return live.rows(
        "SELECT p.url, p.sha256 IS NOT NULL FROM lalafo.ad_photos AS p "
        "WHERE catalog = 'legacy' AND ad_id = %s ORDER BY position",
        ad_id,
    )


def test_an_ad_is_classified_and_its_result_can_be_read(live: Live, client: httpx.Client) -> None:
    """With URLs and with files: the response has the category, and /classify/results too."""
    url = live.photo("one.jpg", ONE)
    with Working(live) as worker:
        until(lambda: worker.partitions)
        answer = client.post("/classify", json={"ad_id": 42, "images": [url], "title": "A chair"})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["status"] == "Success"
        result = body["results"]
        assert (result["ad_id"], result["status"]) == ("42", "scored")
        assert result["top"][0] == [result["category"], pytest.approx(result["score"], abs=1e-6)]
        assert client.get("/classify/results", params={"ad_id": "42"}).json() == body
        sent = client.post(
            "/classify",
            data={"ad_id": "files", "catalog": "kg"},
            files=[("images", ("a.jpg", ONE)), ("images", ("b.jpg", TWO))],
        )
        assert sent.json()["results"]["status"] == "scored", sent.text
        read = client.get("/classify/results", params={"ad_id": "files", "catalog": "kg"})
        assert read.json() == sent.json()
    rows = live.rows("SELECT catalog, ad_id, status FROM lalafo.ads ORDER BY 1, 2")
    assert rows == [("kg", "files", "scored"), ("legacy", "42", "scored")]


def test_images_are_added_to_the_existing_ones(live: Live, client: httpx.Client) -> None:
    """A new revision has the old and the new photos, none of them twice."""
    first, second = live.photo("one.jpg", ONE), live.photo("two.jpg", TWO)
    ad = {"ad_id": "7", "images": [first]}
    add = "/v4/classify/add_images"
    with Working(live) as worker:
        until(lambda: worker.partitions)
        assert client.post(add, json=ad).json()["status"] == "Success"
        assert photos_of(live, "7") == [(first, True)]
        more = client.post(add, json={"ad_id": "7", "images": [first, second]})
        assert more.json()["status"] == "Success"
        assert photos_of(live, "7") == [(first, True), (second, True)]
        sent = client.post(add, data={"ad_id": "7"}, files=[("images", ("c.jpg", THREE))])
        assert sent.json()["status"] == "Success"
        assert photos_of(live, "7") == [(first, True), (second, True), (None, True)]
    assert live.rows("SELECT count(*) FROM lalafo.failures") == [(0,)]


def test_concurrent_requests_add_all_their_photos(live: Live) -> None:
    """Four concurrent requests, without a session: no photo is lost, and the response says
    Processing."""
    settings = live.settings.model_copy(update={"gateway_auth": "off", "max_wait_s": 0.0})
    urls = [f"https://p.example/{number}.jpg" for number in range(4)]
    with live_gateway(settings) as gateway, httpx.Client(base_url=gateway.url) as client:

        def add(url: str) -> httpx.Response:
            body = {"ad_id": "8", "images": [url]}
            return client.post("/v4/classify/add_images", json=body)

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(add, urls))
        assert [a.json() for a in answers] == [{"status": "Processing", "results": None}] * 4
        assert client.get("/classify/results?ad_id=8").json()["status"] == "Processing"
    ((photos,),) = live.rows("SELECT event -> 'photos' FROM lalafo.accepted_ads")
    assert sorted(photo["url"] for photo in photos) == urls


def test_errors_have_the_shape_of_the_original_api(live: Live, client: httpx.Client) -> None:
    """The right status and the two members, for errors of the route, the framework and limits."""
    cases = [
        (client.get("/classify/results?ad_id=nobody"), 404),
        (client.get("/classify/results"), 422),
        (client.post("/classify", content=b"{"), 422),
        (client.post("/classify", json={"ad_id": "1", "images": "no list"}), 422),
        (client.post("/classify", json={"ad_id": "a\x00"}), 422),
        (client.post("/classify", data={"ad_id": "1"}, files={"images": b"text, no photo"}), 415),
        (client.post("/classify", data={"ad_id": "1"}, files={"other": ONE}), 422),
        (client.put("/classify"), 405),
    ]
    for answer, status in cases:
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"Status", "Message"}, answer.text
        assert answer.json()["Status"] == "Error"
    assert live.rows("SELECT count(*) FROM lalafo.accepted_ads") == [(0,)]
