"""Both clients against a live gateway, with a real broker, PostgreSQL and a running session."""

import asyncio
import doctest
import hashlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

import gateway.client.blocking
from gateway.client import (
    AsyncLalafoClient,
    LalafoClient,
    NotAllowed,
    NotFound,
    RateLimited,
    Refused,
    ScoringTimeout,
    ServiceUnavailable,
)
from tests.support.gateway_place import Place
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import LABELS

WITHIN_S = 90.0


def photo_bytes(seed: int) -> bytes:
    return jpeg(noisy(80, 60, seed))


class Blocking:
    """The asyncio client behind the blocking client's interface: each call is run to its end."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._runner = asyncio.Runner()
        self._runner.run(self._open(arguments, more))

    async def _open(self, arguments: Any, more: Any) -> None:
        self._client = AsyncLalafoClient(*arguments, **more)

    def __enter__(self) -> "Blocking":
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **more: Any) -> Any:
            result = method(*arguments, **more)
            if isinstance(result, AsyncIterator):
                return self._runner.run(_all(result))
            return self._runner.run(_awaited(result))

        return call


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """How a test opens a client: the blocking and the asyncio one, in turn."""
    return LalafoClient if request.param == "blocking" else Blocking


class Watched(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The network, which records each request's time and response; None: there was none."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, httpx.Response | None]] = []
        self._blocking, self._async = httpx.HTTPTransport(), httpx.AsyncHTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        began = time.monotonic()
        try:
            answer = self._blocking.handle_request(request)
        except httpx.TransportError:
            self.sent.append((began, None))
            raise
        self.sent.append((began, answer))
        return answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        began = time.monotonic()
        try:
            answer = await self._async.handle_async_request(request)
        except httpx.TransportError:
            self.sent.append((began, None))
            raise
        self.sent.append((began, answer))
        return answer

    def close(self) -> None:
        self._blocking.close()

    async def aclose(self) -> None:
        await self._async.aclose()


@pytest.mark.parametrize("where", ["place", pytest.param("kafka_place", marks=pytest.mark.kafka)])
def test_an_ad_goes_all_the_way(
    where: str, connect: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    """With URLs and with uploads: posted, scored, read, corrected by feedback, and deleted."""
    place: Place = request.getfixturevalue(where)
    file = Path(place.live.settings.home) / f"{connect.__name__}.jpg"
    file.write_bytes(photo_bytes(11))
    url = place.live.photo(f"{connect.__name__}-url.jpg", photo_bytes(12))
    catalog = f"way-{connect.__name__}"
    with connect(place.url, place.key) as client:
        fields = {"catalog": catalog, "ad_id": "a/b", "title": "A chair", "price": "12.50"}
        ad = client.score_ad(
            {**fields, "photos": [{"url": url}]},
            photos=[file, photo_bytes(13)],
            within_s=WITHIN_S,
        )
        assert (ad.status, ad.title, str(ad.price)) == ("scored", "A chair", "12.50")
        assert [photo.status for photo in ad.photos] == ["ok"] * 3
        expected = [hashlib.sha256(photo_bytes(n)).hexdigest() for n in (12, 11, 13)]
        assert [photo.sha256 for photo in ad.photos] == expected
        assert ad.predictions["category"].label in LABELS
        assert client.photo(expected[1])[:3] == b"\xff\xd8\xff"
        assert client.photo(expected[1], thumbnail=True)[:3] == b"\xff\xd8\xff"
        assert client.get_ad(catalog, "a/b").photos == ad.photos
        feedback = client.give_feedback(catalog, "a/b", LABELS[0], given_by="someone")
        assert (feedback.label, feedback.known) == (LABELS[0], True)
        deletion = client.delete_ad(catalog, "a/b")
        assert deletion.revision > ad.revision
        deleted = client.wait_for(catalog, "a/b", deletion.revision, within_s=WITHIN_S)
        assert (deleted.status, deleted.photos) == ("deleted", [])


def test_a_photo_may_be_sent_before_its_ads(place: Place, connect: Callable[..., Any]) -> None:
    """Any later ad can name an upload by its SHA-256."""
    data = photo_bytes(21)
    with connect(place.url, place.key) as client:
        sent = client.upload_photo(data)
        assert (sent.sha256, sent.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        ad = client.score_ad(
            {
                "catalog": "kg",
                "ad_id": f"up-{connect.__name__}",
                "photos": [{"sha256": sent.sha256}],
            },
            within_s=WITHIN_S,
        )
        assert [photo.status for photo in ad.photos] == ["ok"]


def test_lists_go_over_all_their_pages(place: Place, connect: Callable[..., Any]) -> None:
    """More than two pages contain every ad and every failure once; filters are applied."""
    catalog = f"list-{connect.__name__}"
    missing = place.live.host.url("gone.jpg", path="missing")
    with connect(place.url, place.key) as client:
        for number in range(7):
            ad = {"catalog": catalog, "ad_id": str(number), "photos": [{"url": missing}]}
            client.post_ad(ad, photos=[photo_bytes(31)] if number % 2 else ())
        for number in range(7):
            client.wait_for(catalog, str(number), 0, within_s=WITHIN_S)
        ids = [ad.ad_id for ad in client.ads(catalog=catalog, page_size=2)]
        assert sorted(ids) == [str(number) for number in range(7)]
        scored = [ad.ad_id for ad in client.ads(catalog=catalog, status="scored")]
        assert sorted(scored) == ["1", "3", "5"]
        failed = list(client.failures(catalog=catalog, reason="fetch_not_found", page_size=3))
        assert sorted(failure.ad_id for failure in failed) == sorted(ids)
        assert list(client.failures(catalog=catalog, reason="photo_empty")) == []
        assert client.statistics(minutes=1_440).sessions != []


def test_pages_are_requested_when_they_are_needed(place: Place) -> None:
    """An iterator that is abandoned early has requested only the pages that were used."""
    watched = Watched()
    with LalafoClient(place.url, place.key, transport=watched) as client:
        for number in range(3):
            ad = {"catalog": "lazy", "ad_id": str(number)}
            client.score_ad(ad, within_s=WITHIN_S)
        watched.sent.clear()
        ads = client.ads(catalog="lazy", page_size=1)
        assert watched.sent == []
        next(ads)
        assert len(watched.sent) == 1


def test_each_refusal_raises_its_own_exception(place: Place, connect: Callable[..., Any]) -> None:
    """Unknown ads, wrong keys, other catalogs, invalid ads, used revisions; each with its kind."""
    catalog = f"no-{connect.__name__}"
    with connect(place.url, place.key) as client:
        with pytest.raises(NotFound) as absent:
            client.get_ad(catalog, "nobody")
        assert (absent.value.status, absent.value.kind) == (404, "no_such_ad")
        client.post_ad({"catalog": catalog, "ad_id": "1", "revision": 5, "title": "one"})
        with pytest.raises(Refused) as taken:
            client.post_ad({"catalog": catalog, "ad_id": "1", "revision": 5, "title": "two"})
        assert (taken.value.status, taken.value.kind) == (409, "revision_taken")
        with pytest.raises(Refused) as bad:
            client.post_ad({"catalog": catalog, "ad_id": "1", "colour": "blue"})
        assert (bad.value.status, bad.value.kind) == (422, "invalid")
        with pytest.raises(Refused) as no_photo:
            client.post_ad({"catalog": catalog, "ad_id": "2"}, photos=[b"a text, and no photo"])
        assert no_photo.value.status in (415, 422)
        assert (
            client.post_ad({"catalog": catalog, "ad_id": "1", "revision": 4}).state == "superseded"
        )
    wrong = place.key[:-1] + ("a" if place.key[-1] != "a" else "b")
    for key in ("", wrong, "nonsense"):
        with connect(place.url, key) as stranger, pytest.raises(NotAllowed) as refused:
            stranger.get_ad(catalog, "1")
        assert refused.value.status == 401
        assert key == "" or key not in str(refused.value)
    reader = place.new_key(f"reader-{catalog}", scopes=["read"], catalogs=["other"])
    with connect(place.url, reader) as client:
        with pytest.raises(NotAllowed) as scope:
            client.post_ad({"catalog": catalog, "ad_id": "1"})
        with pytest.raises(NotAllowed) as other:
            client.get_ad(catalog, "1")
    assert (scope.value.kind, other.value.kind) == ("scope", "other_catalog")


def test_a_key_s_rate_is_kept_by_waiting(place: Place, connect: Callable[..., Any]) -> None:
    """After 429 the client waits for Retry-After; with patience_s=0 it raises the error."""
    slow = place.new_key(f"slow-{connect.__name__}", requests_per_s=2)
    watched = Watched()
    with connect(place.url, slow, transport=watched) as client:
        for _ in range(6):
            list(client.ads(catalog="nothing"))
    again = [
        (answer, began, after)
        for (began, answer), (after, _) in zip(watched.sent, watched.sent[1:], strict=False)
        if answer is not None and answer.status_code == 429
    ]
    assert again, "the burst was not used up"
    assert all(after - began >= float(it.headers["Retry-After"]) for it, began, after in again)
    with connect(place.url, slow, patience_s=0) as client, pytest.raises(RateLimited) as found:
        for _ in range(20):
            list(client.ads(catalog="nothing"))
    assert found.value.status == 429


def test_an_ad_that_is_not_scored_in_time_is_late(
    place: Place, connect: Callable[..., Any]
) -> None:
    """The exception contains the ad's current state; the ad stays accepted."""
    with connect(place.url, place.key) as client, pytest.raises(ScoringTimeout) as late:
        client.wait_for("kg", "never-posted", 1, within_s=0.2)
    assert "the ad is unknown" in str(late.value)
    drips = place.live.host.url("drips.jpg", path="slow")
    place.live.photo("drips.jpg", photo_bytes(41))
    ad_id = f"late-{connect.__name__}"
    with connect(place.url, place.key) as client:
        with pytest.raises(ScoringTimeout) as late:
            client.score_ad(
                {"catalog": "kg", "ad_id": ad_id, "photos": [{"url": drips}]}, within_s=0.2
            )
        assert "received" in str(late.value)
        assert client.get_ad("kg", ad_id).waiting is not None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_gateway_that_comes_back_is_waited_for(place: Place, connect: Callable[..., Any]) -> None:
    """It is down at the first attempt and up within patience_s: the call succeeds once."""
    port, watched = free_port(), Watched()
    url = f"http://127.0.0.1:{port}"
    with connect(url, place.key, patience_s=0) as client, pytest.raises(ServiceUnavailable) as down:
        client.get_ad("kg", "1")
    assert (down.value.status, down.value.kind) == (None, "no_answer")
    server = subprocess.Popen(
        [sys.executable, "-m", "gateway", "--port", str(port)],
        env=place.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(url, place.key, patience_s=WITHIN_S, transport=watched) as client:
            posted = client.post_ad({"catalog": "kg", "ad_id": f"back-{connect.__name__}"})
        assert posted.state == "accepted"
        assert watched.sent[0][1] is None, "it was up before the first attempt"
    finally:
        server.terminate()
        assert server.wait(20) == 0


def test_the_examples_of_the_documentation_are_true(place: Place) -> None:
    """Run every doctest of the client, in the order of the source."""
    # The session in this process logs to standard output, which doctest compares.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    finder = doctest.DocTestFinder(recurse=True)
    with LalafoClient(place.url, place.key) as client:
        globs = {
            "LalafoClient": LalafoClient,
            **{"client": client, "url": place.url, "key": place.key, "photo": photo_bytes(51)},
        }
        found = finder.find(
            LalafoClient, "LalafoClient", module=gateway.client.blocking, globs=globs
        )
        output: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        for test in sorted(found, key=lambda test: test.lineno or 0):
            runner.run(test, out=output.append, clear_globs=False)
    assert runner.failures == 0, "".join(output)
    assert runner.tries > 15
