"""GET /v1/ads/{catalog}/{ad_id}: committed ads, accepted ads, tombstones and predictions."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from psycopg.types.json import Jsonb

from gateway.edge.keys import make
from ops.types import EventKind, PhotoNote, PhotoRef
from resources.catalogue.rows import insert_photos
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.promotion import make_live, promote, propose, rollback
from tests.support.batches import (
    NOON,
    RELEASE,
    event,
    outcome,
    put_test_release,
    rendition,
    sha,
)
from tests.support.gateway_live import live_gateway
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.read_catalogue import DAGSTER, Catalogue, predict, problem, read_catalogue
from tests.support.release_steps import TOPIC, judged, rescore


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Iterator[Catalogue]:
    with read_catalogue(database, tmp_path) as catalogue:
        yield catalogue


def test_a_committed_ad_is_returned_completely(catalogue: Catalogue) -> None:
    """With the run and release that produced each value, and their links to Dagster."""
    sent = event("1", photos=3, description="as new", price="1200.50", currency="KGS")
    catalogue.commit(outcome(sent))
    catalogue.execute(
        "INSERT INTO lalafo.labels (catalog, ad_id, task, label, given_by, given_at) "
        "VALUES ('kg', '1', 'category', 'sofa', 'moderator-7', %s)",
        NOON,
    )
    found = catalogue.ad("1")
    scored_at = found["predictions"]["category"].pop("scored_at")
    assert abs(datetime.fromisoformat(scored_at) - datetime.now(UTC)) < timedelta(minutes=5)
    times = found.pop("timings")
    expected_ms = (datetime.fromisoformat(times["committed_at"]) - NOON).total_seconds() * 1e3
    assert times["total_ms"] == pytest.approx(expected_ms, abs=0.01)
    assert datetime.fromisoformat(times["kafka_at"]) == NOON
    first, third = (sha(f"https://p.example/1/{n}.jpg").hex() for n in (0, 2))
    run = {"id": "run-1", "url": f"{DAGSTER}/runs/run-1"}
    ok = {"status": "ok", "width": 640, "height": 480, "reason": None, "detail": None, "note": None}
    assert found == {
        "catalog": "kg",
        "ad_id": "1",
        "revision": 1,
        "status": "scored",
        "day": "2026-05-01",
        "title": "ad 1 at 1",
        "description": "as new",
        "category": "chair",
        "price": "1200.50",
        "currency": "KGS",
        "seller": None,
        "attributes": {},
        "received_at": "2026-05-01T12:00:00+00:00",
        "photos": [
            {
                **ok,
                "position": 0,
                "url": "https://p.example/1/0.jpg",
                "sha256": first,
                "image": f"/v1/photos/{first}",
            },
            {
                "position": 1,
                "status": "failed",
                "url": "https://p.example/1/1.jpg",
                "sha256": None,
                "width": None,
                "height": None,
                "reason": "fetch_timeout",
                "detail": "too slow",
                "note": None,
                "image": None,
            },
            {
                **ok,
                "position": 2,
                "url": "https://p.example/1/2.jpg",
                "sha256": third,
                "image": f"/v1/photos/{third}",
            },
        ],
        "predictions": {
            "category": {
                "task": "category",
                "label": "chair",
                "score": 0.75,
                "path": ["chair"],
                "details": {},
                "revision": 1,
                "release": {
                    "id": RELEASE,
                    "url": f"{DAGSTER}/assets/model_release",
                    "drawn_only": False,
                },
                "run": run,
            }
        },
        "labels": {
            "category": {
                "label": "sofa",
                "given_by": "moderator-7",
                "given_at": "2026-05-01T12:00:00+00:00",
            }
        },
        "run": run,
        "waiting": None,
        "links": {"self": "/v1/ads/kg/1", "feedback": "/v1/ads/kg/1/feedback"},
    }


def test_an_incomplete_photo_has_its_note(catalogue: Catalogue) -> None:
    """From the photo's row, which the session wrote; other photos have none."""
    sent = event("1", photos=3)
    noted = replace(rendition(sha("https://p.example/1/0.jpg")), note=PhotoNote.PHOTO_INCOMPLETE)
    with catalogue.database.cursor() as cursor:
        insert_photos(cursor, [noted], "run-1")
    catalogue.commit(outcome(sent))
    notes = [photo["note"] for photo in catalogue.ad("1")["photos"]]
    assert notes == ["photo_incomplete", None, None]


def test_an_accepted_ad_is_returned_before_it_is_committed(catalogue: Catalogue) -> None:
    """Its fields come from the event; everything else is empty."""
    photos = (PhotoRef(url="https://p.example/1.jpg"), PhotoRef(sha256=sha("upload")))
    catalogue.accept(replace(event("new", 5), photos=photos, category=None))
    found = catalogue.ad("new")
    assert (found["status"], found["revision"], found["title"]) == ("received", 5, "ad new at 5")
    assert found["waiting"]["revision"] == 5 and found["waiting"]["kind"] == "upserted"
    assert found["waiting"]["accepted_at"] == found["received_at"]
    assert [(p["position"], p["status"], p["url"], p["sha256"]) for p in found["photos"]] == [
        (0, "waiting", "https://p.example/1.jpg", None),
        (1, "waiting", None, sha("upload").hex()),
    ]
    assert [found[name] for name in ("day", "timings", "run", "category", "price")] == [None] * 5
    assert found["predictions"] == found["labels"] == {}


def test_a_newer_accepted_revision_is_returned_as_waiting(catalogue: Catalogue) -> None:
    """Beside the committed one; an accepted revision that is not newer is not returned."""
    catalogue.commit(outcome(event("1", 3)))
    catalogue.accept(event("1", 3))
    assert catalogue.ad("1")["waiting"] is None
    catalogue.accept(event("1", 4, kind=EventKind.DELETED))
    found = catalogue.ad("1")
    assert (found["revision"], found["status"], found["title"]) == (3, "scored", "ad 1 at 3")
    assert (found["waiting"]["revision"], found["waiting"]["kind"]) == (4, "deleted")
    assert len(found["photos"]) == 1 and found["predictions"]["category"]["revision"] == 3


def test_a_deleted_ad_is_returned_as_its_tombstone(catalogue: Catalogue) -> None:
    """A prediction that a re-score left behind is not returned."""
    catalogue.commit(outcome(event("1")))
    deletion = event("1", 2, photos=0, kind=EventKind.DELETED)
    catalogue.commit(outcome(deletion))
    predict(catalogue, RELEASE, "1", "category", "chair", revision=2)
    found = catalogue.ad("1")
    assert (found["status"], found["revision"]) == ("deleted", 2)
    assert found["photos"] == [] and found["predictions"] == {}
    (row,) = next(catalogue.pages("/v1/ads"))
    assert (row["status"], row["sha256"], row["predictions"]) == ("deleted", None, {})


def test_predictions_of_a_new_task_are_returned(catalogue: Catalogue) -> None:
    """With any name and any details."""
    catalogue.commit(outcome(event("1")))
    predict(catalogue, RELEASE, "1", "mood of the room", "calm")
    found = catalogue.ad("1")["predictions"]
    assert set(found) == {"category", "mood of the room"}
    assert found["mood of the room"]["details"] == {"top": [["calm", 0.5]], "new": {"x": 1}}

    (row,) = next(catalogue.pages("/v1/ads"))
    assert row["predictions"] == {
        "category": {"label": "chair", "score": 0.75},
        "mood of the room": {"label": "calm", "score": 0.5},
    }


def test_a_list_shows_the_photo_that_a_task_names_as_the_best(catalogue: Catalogue) -> None:
    """Without such an answer it shows the first one."""
    catalogue.commit(outcome(event("1")), outcome(event("2")))
    predict(catalogue, RELEASE, "1", "quality", "good")
    best = "UPDATE lalafo.predictions SET details = %s WHERE task = 'quality'"
    catalogue.execute(best, Jsonb({"best": {"sha256": "ab" * 32, "position": 1}}))
    shown = {row["ad_id"]: row["sha256"] for row in next(catalogue.pages("/v1/ads"))}
    first = catalogue.ad("2")["photos"][0]["sha256"]
    assert shown == {"1": "ab" * 32, "2": first}


@pytest.mark.parametrize("path", [["Еда", "Apple"], []], ids=["sure", "not sure"])
def test_the_path_of_a_category_in_a_tree(catalogue: Catalogue, path: list[str]) -> None:
    """As the task has answered: the parts of the label from the root, or none if it is not sure."""
    catalogue.commit(outcome(event("1")))
    query = "UPDATE lalafo.predictions SET label = 'Еда/Apple', details = %s"
    catalogue.execute(query, Jsonb({"path": path}))
    assert catalogue.ad("1")["predictions"]["category"]["path"] == path


def test_only_predictions_of_the_live_release_are_returned(catalogue: Catalogue) -> None:
    """A promotion changes every response; a prediction of an older revision is never returned."""
    catalogue.commit(outcome(event("1")), outcome(event("2")))
    put_test_release(catalogue.database, "tiny-000000000002")
    make_live(catalogue.database, RELEASE)
    predict(catalogue, "tiny-000000000002", "1", "category", "stool")
    predict(catalogue, "tiny-000000000002", "2", "category", "stool", revision=0)

    def labels() -> tuple[list[str | None], list[str | None]]:
        read = [catalogue.ad(ad_id)["predictions"].get("category") for ad_id in ("1", "2")]
        rows = {row["ad_id"]: row["predictions"] for row in next(catalogue.pages("/v1/ads"))}
        return (
            [None if one is None else one["label"] for one in read],
            [rows[ad_id].get("category", {}).get("label") for ad_id in ("1", "2")],
        )

    assert labels() == (["chair", "chair"], ["chair", "chair"])
    make_live(catalogue.database, "tiny-000000000002")
    assert labels() == (["stool", None], ["stool", None])
    release = catalogue.ad("1")["predictions"]["category"]["release"]["id"]
    assert release == "tiny-000000000002"


@pytest.mark.parametrize("ad_id", ["a/b/c", "два слова", "50%?#&", "x/feedback"])
def test_any_key_finds_its_ad(catalogue: Catalogue, ad_id: str) -> None:
    """The link in the response works too."""
    catalogue.commit(outcome(event(ad_id)))
    (row,) = next(catalogue.pages("/v1/ads"))
    for path in (row["links"]["self"], "/v1/ads/kg/" + quote(ad_id, safe="")):
        answer = raw_get(catalogue, path)
        assert answer.status_code == 200 and answer.json()["ad_id"] == ad_id
        assert answer.json()["links"] == row["links"]


def raw_get(catalogue: Catalogue, path: str) -> httpx.Response:
    """Request a path unchanged: httpx would normalize its dots."""
    url = httpx.URL(catalogue.gateway.url).copy_with(raw_path=path.encode())
    return httpx.get(url, headers={"Authorization": f"Bearer {catalogue.key}"})


def test_an_unknown_ad_is_a_problem(catalogue: Catalogue) -> None:
    assert problem(catalogue.get("/v1/ads/kg/nothing")) == (404, "no_such_ad")
    assert problem(catalogue.get("/v1/ads/kg/%00")) == (422, "invalid")
    assert problem(catalogue.get("/v1/ads/kg/" + "x" * 201)) == (422, "invalid")


def test_a_matching_etag_gets_304_until_the_ad_changes(catalogue: Catalogue) -> None:
    catalogue.commit(outcome(event("1")))
    first = catalogue.get("/v1/ads/kg/1")
    same = {"If-None-Match": f'"other", W/{first.headers["etag"]}'}
    again = catalogue.get("/v1/ads/kg/1", headers=same)
    assert (again.status_code, again.content) == (304, b"")
    catalogue.accept(event("1", 2))
    changed = catalogue.get("/v1/ads/kg/1", headers=same)
    assert changed.status_code == 200 and changed.json()["waiting"]["revision"] == 2


@pytest.mark.parametrize(
    "path", ["/v1/ads", "/v1/ads/kg/1", "/v1/failures", f"/v1/photos/{'0' * 64}"]
)
def test_reading_requires_the_scope_read(catalogue: Catalogue, path: str) -> None:
    key = make(catalogue.database, "writer", scopes=["ingest"]).text
    assert catalogue.get(path, key=key).status_code == 403
    assert httpx.get(catalogue.gateway.url + path).status_code == 401


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_a_promotion_and_a_rollback_switch_the_predictions(live: Live) -> None:
    """Each response contains predictions of one release only, before and after each switch."""
    live.publish(ad("1", [live.photo("1.jpg", jpeg(noisy(40, 30, 1)))]))
    live.drain()
    before = read_active_releases(live.database).live.name
    after = judged(live.database, live.settings, random_release(1))
    propose(live.database, after)
    rescore(live.database, live.settings, after)
    settings = live.settings.model_copy(update={"gateway_auth": "off"})
    with live_gateway(settings) as gateway:

        def source() -> tuple[str, str]:
            prediction = httpx.get(f"{gateway.url}/v1/ads/kg/1").json()["predictions"]["category"]
            return prediction["release"]["id"], prediction["run"]["id"]

        assert source() == (before, "run-1")
        promote(live.database, after, scored_topic=TOPIC)
        assert source() == (after, f"rescore-{after}")
        rollback(live.database, scored_topic=TOPIC)
        assert source() == (before, "run-1")
