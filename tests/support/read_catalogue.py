"""A small catalogue with a gateway, for tests of the read routes.

The tables are written by the sessions' own writer.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
from psycopg.types.json import Jsonb

from gateway.edge.keys import make
from gateway.schemas.ads import AdOut, AdPage, FailurePage
from ops.events.serialize import event_json
from ops.outcomes import AdOutcome, DeadLetter
from ops.types import AdEvent, AdKey
from resources.postgres.database import Database
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.commits.observed import write_observed
from resources.sessions.group.leases import Leases
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from tests.conftest import connect_args
from tests.support.batches import batch, dead_letter, event, put_test_release
from tests.support.gateway_live import LiveGateway, live_gateway

DAGSTER = "http://dagster.example"


class Catalogue:
    """A session's writer, a gateway that reads the same tables, and an API key."""

    def __init__(self, database: Database, settings: Settings, gateway: LiveGateway) -> None:
        self.database = database
        self.settings = settings
        self.gateway = gateway
        put_test_release(database)
        with psycopg.connect(**connect_args(database.url.render_as_string())) as connection:
            self.epochs = Leases("stream-1", "ads", "run-1", 60).acquire(connection, [0])
        self.results = ResultWriter(database, Holder("run-1", "stream-1", "ads", "ads.scored"))
        self.offset = 0
        self.key = make(database, "all", scopes=["read"]).text

    def commit(self, *ads: AdOutcome, letters: int = 0) -> None:
        """Commit ads and dead letters as a session does."""
        placed = []
        for ad in ads:
            placed.append(replace(ad, receipt=replace(ad.receipt, offset=self.offset)))
            self.offset += 1
        dead: list[DeadLetter] = []
        for _ in range(letters):
            dead.append(dead_letter(self.offset))
            self.offset += 1
        result = self.results.commit(batch(*placed, letters=tuple(dead)), self.epochs)
        with self.database.cursor() as cursor:
            committed = [(ad.event, result.committed_at) for ad in placed]
            write_observed(cursor, committed, ())

    def accept(self, event: AdEvent) -> None:
        """Accept an event as the gateway does, without the outbox."""
        with self.database.cursor() as cursor:
            cursor.execute(
                "INSERT INTO lalafo.accepted_ads "
                "(catalog, ad_id, revision, event, digest, accepted_by) "
                "VALUES (%s, %s, %s, %s, '', 'k') ON CONFLICT (catalog, ad_id) "
                "DO UPDATE SET revision = EXCLUDED.revision, event = EXCLUDED.event",
                (
                    *(event.key.catalog, event.key.ad_id, event.revision),
                    Jsonb(json.loads(event_json(event))),
                ),
            )

    def execute(self, query: str, *values: object) -> None:
        with self.database.cursor() as cursor:
            cursor.execute(query, values)

    def get(self, path: str, key: str = "", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        return httpx.get(f"{self.gateway.url}{path}", headers=headers, **more)

    def ad(self, ad_id: str, catalog: str = "kg") -> dict[str, Any]:
        """Get an ad from the gateway, and validate its shape."""
        answer = self.get(f"/v1/ads/{quote(catalog, safe='')}/{quote(ad_id)}")
        assert answer.status_code == 200, answer.text
        AdOut.model_validate_json(answer.content)
        return answer.json()

    def pages(self, path: str, **query: object) -> Iterator[list[dict[str, Any]]]:
        """Get every page of a list."""
        cursor: dict[str, str] = {}
        while True:
            answer = self.get(path, params={**query, **cursor})
            assert answer.status_code == 200, answer.text
            model = AdPage if path == "/v1/ads" else FailurePage
            model.model_validate_json(answer.content)
            page = answer.json()
            yield page["ads" if path == "/v1/ads" else "failures"]
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}

    def listed(self, path: str = "/v1/ads", **query: object) -> list[str]:
        """The names of all rows of a list, from all of its pages."""
        return [
            row["subject"] if "subject" in row else f"{row['catalog']}/{row['ad_id']}"
            for page in self.pages(path, **query)
            for row in page
        ]


@contextmanager
def read_catalogue(database: Database, home: Path) -> Iterator[Catalogue]:
    """Empty tables and a gateway; no broker, since reading needs none."""
    settings = Settings(
        home=home,
        database_url=database.url.render_as_string(),
        kafka_bootstrap="127.0.0.1:9",
        dagster_url=DAGSTER + "/",
    )
    with live_gateway(settings) as gateway:
        yield Catalogue(database, settings, gateway)


def of(catalog: str, ad_id: str, **changes: object) -> AdEvent:
    """An event of the given catalog."""
    return replace(event(ad_id), key=AdKey(catalog, ad_id), **changes)


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:lalafo:problem:")


def predict(
    catalogue: Catalogue, release: str, ad_id: str, task: str, label: str, revision: int = 1
) -> None:
    """Write a release's prediction of an ad, as a re-score does."""
    catalogue.execute(
        "INSERT INTO lalafo.predictions (release, catalog, ad_id, task, revision, day, label, "
        "score, details, run_id) VALUES (%s, 'kg', %s, %s, %s, '2026-05-01', %s, 0.5, %s, 'r-2')",
        *(release, ad_id, task, revision, label, Jsonb({"top": [[label, 0.5]], "new": {"x": 1}})),
    )


def store(catalogue: Catalogue, *photos: str) -> dict[str, bytes]:
    """Store placeholder renditions of these photos and set them in their rows; by photo."""
    photo_store = PhotoStore(catalogue.settings.resolved_store_url, fsync=False)
    stored = {}
    for photo in photos:
        data = f"the rendition of {photo}".encode()
        photo_store.put("renditions", hashlib.sha256(data).digest(), data)
        catalogue.execute(
            "UPDATE lalafo.photos SET rendition_sha256 = %s WHERE sha256 = %s",
            hashlib.sha256(data).digest(),
            bytes.fromhex(photo),
        )
        stored[photo] = data
    return stored
