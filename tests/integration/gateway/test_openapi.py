"""The gateway behaves as its OpenAPI document says: schemathesis tests every operation.

With a key of all scopes, valid and invalid requests get no 5xx, and every response has a status, a
content type, headers and a schema that the document declares. Without a key every response is 401.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from gateway.edge.keys import SCOPES, make
from gateway.schemas.ads import EXAMPLE_AD
from gateway.search import photos
from lalafo_assets.bench.gateway.fill import fill
from lalafo_assets.synthetic.photos import generate
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore
from tests.conftest import BrokerUnderTest
from tests.support.gateway_live import live_gateway

EXAMPLES = 25  # per operation and kind, in addition to the limits of every field
ROWS = 1_000

# The checks that are turned off, each with its reason.
CONFIG = """
[checks]
# Some input that matches the schema is refused with 422 because of the database or a setting: a
# cursor of another list, a reused Idempotency-Key, more seconds than LALAFO_MAX_WAIT_S.
positive_data_acceptance.enabled = false
# A deleted ad can still be read, as a tombstone.
use_after_free.enabled = false

# An ad's id may end in "/feedback", "/similar" or "/duplicates": those paths have the methods of an
# ad too.
[[operations]]
include-path-regex = "/(feedback|similar|duplicates)$"
[operations.checks]
unsupported_method.enabled = false
allow_header_conformance.enabled = false
"""


@pytest.fixture
def gateway_url(
    database: Database,
    embedded_broker: EmbeddedBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """A gateway with keys, on a database with ads of every kind."""
    # There is no indexer, so waiting would only make the test slow.
    monkeypatch.setattr(photos, "WITHIN_S", 0.01)
    fill(database, rows=ROWS, on_progress=lambda *_: None)
    photo = next(generate(1, 5)).data
    digest = sha256(photo).digest()
    with database.cursor() as cursor:  # all photos get the same rendition, so that they can be read
        cursor.execute("UPDATE lalafo.photos SET rendition_sha256 = %s", (digest,))
    settings = BrokerUnderTest("embedded", embedded_broker.exports()).settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        dagster_url="http://dagster.example",
        max_wait_s=0.01,  # there is no session, so waiting would only make the test slow
    )
    PhotoStore(settings.resolved_store_url).put("renditions", digest, photo)
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics(partitions=1)
    with live_gateway(settings) as gateway:
        yield gateway.url


def test_every_response_is_declared_in_the_document(
    gateway_url: str, database: Database, tmp_path: Path
):
    """All phases of schemathesis, with every check except those that CONFIG turns off."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    key = make(database, "all", scopes=SCOPES).text
    options = [
        *("--header", f"Authorization: Bearer {key}", "--max-examples", str(EXAMPLES)),
        *("--seed", "7"),
        *("--continue-on-failure", "--warnings", "off", "--request-timeout", "10"),
    ]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "--no-color"),
            *("run", f"{gateway_url}/v1/openapi.json", *options),
        ],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr
    count = len(operations(gateway_url))
    assert f"{count} selected / {count} total" in done.stdout
    with httpx.Client(base_url=gateway_url, headers={"X-API-Key": key}) as client:
        assert client.get("/v1/ads").status_code == 200, "it still answers"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer lv_000000000000_wrong"},
        {"Authorization": "Basic YTpi"},
        {"X-API-Key": "lv_"},
    ],
    ids=["none", "unknown", "basic", "cut short"],
)
def test_without_a_key_there_is_only_401(gateway_url: str, headers: dict[str, str]):
    """Every operation, without a body, with a valid one and with an invalid one."""
    bodies: tuple[bytes | None, ...] = (None, json.dumps(EXAMPLE_AD).encode(), b"\x00")
    with httpx.Client(base_url=gateway_url, headers=headers) as client:
        for method, path in operations(gateway_url):
            for body in bodies:
                answer = client.request(method, path, content=body)
                assert answer.status_code == 401, (method, path, answer.text)
                assert answer.headers["content-type"] in ("application/problem+json", JSON)
                assert "www-authenticate" in answer.headers


JSON = "application/json"  # the error type of the original API's routes


def operations(url: str) -> list[tuple[str, str]]:
    """The methods and paths of the document, filled in with the key of an existing ad."""
    document = httpx.get(f"{url}/v1/openapi.json").raise_for_status().json()
    known = {"catalog": "bench", "ad_id": "000000001", "sha256": "0" * 64}
    return [
        (method.upper(), path.format(**known))
        for path, methods in document["paths"].items()
        for method in methods
    ]
