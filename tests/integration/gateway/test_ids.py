"""Ids: each is either refused at every door, or leads to the same ad on every way to it."""

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.client import LalafoClient, Refused
from lalafo_assets.commands.publishing import publish_lines
from ops.errors import BadInputError
from ops.events.parse import EventLimits, parse_event
from ops.types import StreamRecord
from resources.embedded.broker import EmbeddedBroker
from resources.postgres.database import Database
from tests.support.open_gateway import open_gateway

VICTIM = {"catalog": "kg", "ad_id": "victim", "revision": 1}
EXAMPLES = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
PARTS = [
    *("/", "//", ".", "..", "%", "%2F", "%2e%2e", "%0A", "?", "#", "+", " ", ";", "&", "=", ":"),
    *("@", "~", "*", "'", '"', "\\", "<", "|", "é", "e\u0301", "💺", "\u202e", "\ufffd", "\u3000"),
    *("\n", "\r", "\t", "\x00", "\x1f", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"),
    *("feedback", "victim", "kg", "NL12", "a", "x" * 90),
]
ids = st.lists(st.sampled_from(PARTS) | st.text(max_size=2), min_size=1, max_size=5).map("".join)


@pytest.fixture
def url(database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[str]:
    with open_gateway(database, embedded_broker, tmp_path) as (gateway, _):
        httpx.post(f"{gateway.url}/v1/ads", json=VICTIM).raise_for_status()
        yield gateway.url


def addressable(name: str) -> bool:
    """Computed independently of the product."""
    return (
        0 < len(name) <= 200
        and not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name)
        and not any(segment in (".", "..") for segment in name.split("/"))
    )


def event(catalog: str, ad_id: str, kind: str = "upserted", revision: int = 1) -> bytes:
    fields = {"catalog": catalog, "ad_id": ad_id, "revision": revision, "kind": kind}
    envelope = {"schema": 1, "event_id": "e", "occurred_at": "2026-11-22T10:00:00Z"}
    return json.dumps({**envelope, **fields}).encode()


def by_kafka(value: bytes) -> bool:
    try:
        parse_event(StreamRecord("ads", 0, 0, 0, None, value), EventLimits())
    except BadInputError:
        return False
    return True


@given(catalog=ids, ad_id=ids)
@EXAMPLES
def test_an_id_is_refused_everywhere_or_round_trips(url: str, catalog: str, ad_id: str) -> None:
    """By its links, the client, feedback, deletion and `lalafo publish`."""
    valid = addressable(catalog) and addressable(ad_id) and "/" not in catalog
    assert by_kafka(event(catalog, ad_id)) is valid
    body = json.dumps({"catalog": catalog, "ad_id": ad_id, "revision": 1})
    answer = httpx.post(f"{url}/v1/ads", content=body)
    assert (answer.status_code in (200, 202)) is valid, answer.text
    line = publish_lines([event(catalog, ad_id)], url=url, key="")
    assert (line.accepted == 1) is valid, line
    with LalafoClient(url, "") as client:
        if not valid:
            assert answer.status_code == 422
            with pytest.raises(Refused):
                client.get_ad(catalog, ad_id)
            return
        links = answer.json()["links"]
        assert urljoin(url, links["self"]) == url + links["self"], "no client resolves it further"
        for found in (
            httpx.get(url + links["self"]).json(),
            client.get_ad(catalog, ad_id).model_dump(),
        ):
            assert (found["catalog"], found["ad_id"]) == (catalog, ad_id)
        assert answer.headers["Location"] == links["self"]
        about = httpx.post(url + links["feedback"], json={"label": "a", "given_by": "b"})
        assert about.json()["type"] == "urn:lalafo:problem:no_such_task", "the ad is found"
        revision = client.get_ad(catalog, ad_id).revision + 1
        deleted = httpx.delete(url + links["self"], params={"revision": revision})
        assert (deleted.json()["catalog"], deleted.json()["ad_id"]) == (catalog, ad_id)
        gone = publish_lines([event(catalog, ad_id, "deleted", revision)], url=url, key="")
        assert (gone.accepted, gone.refused) == (1, [])


@pytest.mark.parametrize(
    "path",
    [
        *("kg/victim%0A", "kg/%0Avictim", "kg/victim%0D%0A", "kg/victim%00", "kg/victim%C2%85"),
        *("kg/victim%E2%80%A8", "kg%0A/victim", "kg/x%2F..%2Fvictim", "kg/x/%2e%2e/victim"),
        *("kg/.%2Fvictim", "k%2Fg/victim", "%2Fkg/victim", "kg/victim%FF", "kg/%ED%A0%80victim"),
    ],
)
def test_known_ways_to_another_ad_are_closed(url: str, path: str) -> None:
    """Line breaks, dot segments, a slash in the catalog, bytes that are not UTF-8."""
    for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/feedback")):
        answer = httpx.request(method, f"{url}/v1/ads/{path}{more}")
        assert answer.status_code in (404, 422), (method, path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert_untouched(url)


def test_replaced_bytes_name_no_ad_on_the_original_s_routes(url: str) -> None:
    """In a query and in a form: not UTF-8 is refused, not read as U+FFFD."""
    httpx.post(f"{url}/v1/ads", json={"catalog": "legacy", "ad_id": "\ufffd", "title": "kept"})
    assert httpx.get(f"{url}/classify/results?ad_id=%FF").status_code == 422
    form = b'--x\r\nContent-Disposition: form-data; name="ad_id"\r\n\r\n\xff\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for path in ("/classify", "/v4/classify/add_images"):
        assert httpx.post(url + path, content=form, headers=headers).status_code == 422
        assert httpx.post(url + path, json={"ad_id": "NL12\n"}).status_code == 422
    assert httpx.get(f"{url}/v1/ads/legacy/%EF%BF%BD").json()["title"] == "kept"


def assert_untouched(url: str) -> None:
    victim = httpx.get(f"{url}/v1/ads/kg/victim").json()
    assert (victim["revision"], victim["waiting"]["kind"]) == (1, "upserted")
