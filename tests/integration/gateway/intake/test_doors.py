"""The two doors: what the gateway accepts of an ad, the stream accepts, and the other way round.

The same bytes go to `POST /v1/ads` of a live gateway and to the parser of the topic's records. They
differ only in the fields that records alone have (schema, event_id, kind).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ops.errors import BadInputError
from ops.events.parse import EventLimits, parse_event
from ops.types import AdEvent, StreamRecord
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from tests.support.open_gateway import open_gateway
from tests.support.topic_records import everything_on

ENVELOPE = '"schema": 1, "event_id": "e", "kind": "upserted", '
AD = {
    "catalog": "kg",
    "ad_id": "42",
    "revision": 7,
    "occurred_at": "2026-11-22T10:00:00Z",
    "title": "A chair",
    "price": "12.50",
}
EXAMPLES = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@pytest.fixture
def client(
    database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path
) -> Iterator[httpx.Client]:
    with (
        open_gateway(database, embedded_broker, tmp_path) as (gateway, _),
        httpx.Client(base_url=gateway.url, timeout=60) as client,
    ):
        yield client


def by_kafka(value: bytes, limits: EventLimits | None = None) -> AdEvent | None:
    """The event that a session reads; None: a dead letter."""
    record = StreamRecord("ads", 0, 0, 0, None, value)
    try:
        return parse_event(record, EventLimits() if limits is None else limits)
    except BadInputError:
        return None


def by_http(client: httpx.Client, value: bytes) -> bool:
    """Whether the gateway accepts the ad; a conflict with an earlier one is no refusal."""
    status = client.post("/v1/ads", content=value).status_code
    assert status in (200, 202, 409, 422), status
    return status != 422


def assert_alike(client: httpx.Client, text: str, encode=lambda text: text.encode()) -> bool:
    """Both verdicts of a body whose text starts with '{'; returns whether it is accepted."""
    assert text.startswith("{")
    http = by_http(client, encode(text))
    event = by_kafka(encode("{" + ENVELOPE + text[1:]))
    assert (event is not None) == http, (text, event)
    return http


def changed(**changes: object) -> str:
    return json.dumps({**AD, **changes})


@pytest.mark.parametrize(
    ("text", "encoding", "accepted"),
    [
        (changed(), "utf-8-sig", True),
        (changed(), "utf-16", False),
        (changed(), "utf-16-le", False),
        (changed(), "utf-16-be", False),
        (changed(), "utf-32", False),
        (changed(title="cafe\u0301"), "utf-8", True),
        (changed(occurred_at=1_692_352_800_000), "utf-8", False),
        (changed(occurred_at="20261122T100000Z"), "utf-8", False),
        (changed(occurred_at="2026-W47-7T10:00:00Z"), "utf-8", False),
        (changed(price="1_0"), "utf-8", False),
        (changed(price="\uff11\uff12"), "utf-8", False),
        (changed(price="+5"), "utf-8", False),
        (changed(price="5 "), "utf-8", False),
        (changed(revision=2**63 - 1), "utf-8", False),
        (changed(revision=2**62), "utf-8", True),
        (changed(title=None, photos=None, category="", currency=None, price=None), "utf-8", True),
        (changed(photos=[{"sha256": "AB" * 32}]), "utf-8", True),
        (changed().replace("7", '7, "revision": 8'), "utf-8", False),
        (changed(price="@").replace('"@"', "NaN"), "utf-8", False),
        (changed(price="@").replace('"@"', "1e400"), "utf-8", False),
        (changed(price="@").replace('"@"', "1" * 10_000), "utf-8", False),
        (changed(title="@").replace('"@"', "[" * 5_000 + "]" * 5_000), "utf-8", False),
        (changed() + "x", "utf-8", False),
        (changed(seller=None), "utf-8", True),
        (changed(seller=""), "utf-8", True),
        (changed(seller="продавец/17"), "utf-8", True),
        (changed(seller="x" * 128), "utf-8", True),
        (changed(seller="x" * 129), "utf-8", False),
        (changed(seller=17), "utf-8", False),
        (changed(seller="a\x00"), "utf-8", False),
        (changed(seller="a\ud800"), "utf-8", False),
        (changed(attributes=None), "utf-8", True),
        (changed(attributes={}), "utf-8", True),
        (
            changed(attributes={"area": 34.5, "mileage": 2, "year": None, "площадь": -1}),
            "utf-8",
            True,
        ),
        (changed(attributes={f"a{n}": n for n in range(32)}), "utf-8", True),
        (changed(attributes={f"a{n}": n for n in range(33)}), "utf-8", False),
        (changed(attributes={f"a{n}": n for n in range(10_000)}), "utf-8", False),
        (changed(attributes={"area": "34"}), "utf-8", False),
        (changed(attributes={"area": True}), "utf-8", False),
        (changed(attributes={"area": {"m2": 34}}), "utf-8", False),
        (changed(attributes={"area": [34]}), "utf-8", False),
        (changed(attributes=[34]), "utf-8", False),
        (changed(attributes={"": 1}), "utf-8", False),
        (changed(attributes={"x" * 65: 1}), "utf-8", False),
        (changed(attributes={"a\ud800": 1}), "utf-8", False),
        (changed(attributes={"area": "@"}).replace('"@"', "NaN"), "utf-8", False),
        (changed(attributes={"area": "@"}).replace('"@"', "1e400"), "utf-8", False),
        (changed(attributes={"area": "@"}).replace('"@"', "1" * 999), "utf-8", False),
        (changed(attributes={"area": 1}).replace('"area"', '"area": 2, "area"'), "utf-8", False),
        (changed(price=-1), "utf-8", False),
        (changed(price=0), "utf-8", True),
        (changed(price=1e30), "utf-8", False),
        (changed(price=None, currency="KGS"), "utf-8", True),
        (changed(currency=None), "utf-8", True),
        (changed(currency="¤¤¤"), "utf-8", True),
        (changed(title=""), "utf-8", True),
        (changed(title="ひとりがけのソファー 🛋 أريكة"), "utf-8", True),
        (changed(photos=[]), "utf-8", True),
        (changed(photos=[{"url": f"http://a/{n}.jpg"} for n in range(50)]), "utf-8", True),
        (changed(photos=[{"url": f"http://a/{n}.jpg"} for n in range(51)]), "utf-8", False),
    ],
)
def test_known_differences_are_gone(
    client: httpx.Client, text: str, encoding: str, accepted: bool
) -> None:
    """Encodings, times, prices, revisions, nulls, duplicate names, numbers and nesting.

    A photo by its SHA-256 is refused by the gateway if it is unknown: another reason.
    """
    if "sha256" in text:
        answer = client.post("/v1/ads", content=text)
        assert answer.json()["type"] == "urn:lalafo:problem:unknown_photo"
        assert by_kafka(("{" + ENVELOPE + text[1:]).encode()) is not None
        return
    assert assert_alike(client, text, lambda it: it.encode(encoding)) is accepted


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(
        [
            *("1_0", "+5", "5 ", "5", "1E+5", "٣", "", " ", "x" * 9, "x" * 201, "\x00", "\ud800"),
            *("2026-11-22T10:00:00Z", "20261122T100000Z", "2026-W47-7T10:00:00Z", "2026-11-22"),
            *(
                "a\n",
                "a/../b",
                "..",
                "a//b",
                "\x85",
                "%0A",
                2**62,
                2**62 + 1,
                2**63 - 1,
                0,
                -1,
                7.0,
            ),
        ]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["url", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)
NAMES = [
    *("catalog", "ad_id", "revision", "occurred_at", "title", "description", "category", "price"),
    *("currency", "photos", "attributes", "seller"),
]


@given(changes=st.dictionaries(st.sampled_from(NAMES), values, max_size=3), escaped=st.booleans())
@example(changes={"photos": [{"url": "http://a/b", "sha256": None}]}, escaped=True)
@EXAMPLES
def test_any_values_get_the_same_verdict(
    client: httpx.Client, changes: dict[str, object], escaped: bool
) -> None:
    """Valid and invalid values of every field, except that the gateway supplies a revision and a
    time where there is none, and refuses unknown fields of a photo."""
    fields = {**AD, **changes}
    if fields["revision"] is None or fields["occurred_at"] is None:
        return
    photos = fields.get("photos")
    if isinstance(photos, list) and any(isinstance(p, dict) and "a" in p for p in photos):
        return
    text = json.dumps(fields, ensure_ascii=escaped)
    assert_alike(client, text, lambda it: it.encode("utf-8", "surrogatepass"))


@given(
    noise=st.binary(min_size=1, max_size=3),
    at=st.integers(0, 200),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"]),
)
@EXAMPLES
def test_any_bytes_get_the_same_verdict(
    client: httpx.Client, noise: bytes, at: int, encoding: str
) -> None:
    """Bytes in the middle of an ad, in any encoding; the gateway refuses fields that it does not
    know, so bytes inside of a name are left out."""
    text = changed()
    head = len("{".encode(encoding))
    at = head + at % (len(text.encode(encoding)) - head)

    def encode(it: str) -> bytes:
        value = it.encode(encoding)
        where = at + len(value) - len(text.encode(encoding))
        return value[:where] + noise + value[where:]

    try:
        names = set(json.loads(encode(text).decode("utf-8-sig")))
    except ValueError:
        names = set()
    if names <= set(NAMES):
        assert_alike(client, text, encode)


def test_the_framing_of_a_schema_registry_is_named_at_both_doors(client: httpx.Client) -> None:
    """And stripped by both where LALAFO_SCHEMA_REGISTRY_FRAMING says so; see test_framing."""
    framed = b"\x00\x00\x00\x00\x2a" + changed().encode()
    answer = client.post("/v1/ads", content=framed)
    assert answer.status_code == 422
    assert "schema id 42, the framing of Confluent's schema registry" in answer.json()["detail"]
    assert by_kafka(framed) is None


def test_framing(database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """With LALAFO_SCHEMA_REGISTRY_FRAMING=strip a framed ad is accepted and published plainly."""
    framed = b"\x00\x00\x00\x00\x2a" + changed().encode()
    with open_gateway(database, embedded_broker, tmp_path, schema_registry_framing="strip") as (
        gateway,
        with_strip,
    ):
        assert httpx.post(f"{gateway.url}/v1/ads", content=framed).status_code == 202
        envelope = ("{" + ENVELOPE + changed()[1:]).encode()
        assert by_kafka(framed[:5] + envelope, with_strip.event_limits) is not None
        with AdStream.from_settings(with_strip) as stream:
            (record,) = everything_on(stream, with_strip.ads_topic)
    assert record.value is not None and by_kafka(record.value) is not None


def test_feedback_is_read_by_the_same_reader(client: httpx.Client) -> None:
    """A byte order mark is ignored, UTF-16 refused by name, a misspelt field with the right one."""
    client.post("/v1/ads", content=changed().encode())
    text = '{"label": "chair", "given_by": "m"}'
    headers = {"Content-Type": "application/json"}
    path = "/v1/ads/kg/42/feedback"
    read = client.post(path, content=text.encode("utf-8-sig"), headers=headers)
    assert read.json()["type"] == "urn:lalafo:problem:no_such_task"  # no release is live here
    utf16 = client.post(path, content=text.encode("utf-16"), headers=headers)
    assert utf16.status_code == 400 and "UTF-16" in utf16.json()["detail"]
    misspelt = client.post(path, json={"lable": "chair", "given_by": "m"})
    assert "(did you mean 'label'?)" in misspelt.text
    assert client.post(path, content=b"{", headers=headers).status_code == 400
    assert client.post(path, content=b"{}", headers={"Content-Type": "text/x"}).status_code == 415
