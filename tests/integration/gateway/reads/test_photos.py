"""Photos over HTTP: who may read them, their content, and how long they may be cached."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.types import EventKind
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore
from tests.support.batches import event, outcome
from tests.support.read_catalogue import Catalogue, problem, read_catalogue, store


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Iterator[Catalogue]:
    with read_catalogue(database, tmp_path) as catalogue:
        yield catalogue


def test_a_photo_is_its_rendition_and_may_be_cached(catalogue: Catalogue) -> None:
    catalogue.commit(outcome(event("1")))
    photo = catalogue.ad("1")["photos"][0]
    stored = store(catalogue, photo["sha256"])
    answer = catalogue.get(photo["image"])
    assert (answer.status_code, answer.content) == (200, stored[photo["sha256"]])
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    etag = {"If-None-Match": answer.headers["etag"]}
    assert catalogue.get(photo["image"], headers=etag).status_code == 304


def test_a_thumbnail_is_returned_once_there_is_one(catalogue: Catalogue) -> None:
    catalogue.commit(outcome(event("1")))
    photo = catalogue.ad("1")["photos"][0]
    stored = store(catalogue, photo["sha256"])
    small = photo["image"] + "?thumbnail"
    whole = catalogue.get(small)
    assert whole.content == stored[photo["sha256"]]
    thumbnail = hashlib.sha256(b"tiny").digest()
    PhotoStore(catalogue.settings.resolved_store_url).put("thumbnails", thumbnail, b"tiny")
    catalogue.execute("UPDATE lalafo.photos SET thumbnail_sha256 = %s", thumbnail)
    after = catalogue.get(small, headers={"If-None-Match": whole.headers["etag"]})
    assert (after.status_code, after.content) == (200, b"tiny")
    assert catalogue.get(photo["image"]).content == stored[photo["sha256"]]


def test_a_photo_that_no_ad_has_is_not_returned(catalogue: Catalogue) -> None:
    """An upload that is not scored, a photo of a deleted ad, and one that never existed."""
    data = b"<script>alert(1)</script>"
    digest = hashlib.sha256(data).digest()
    PhotoStore(catalogue.settings.resolved_store_url).put("uploads", digest, data)
    catalogue.execute(
        "INSERT INTO lalafo.uploads (sha256, bytes, uploaded_by) VALUES (%s, 25, 'k')", digest
    )
    catalogue.commit(outcome(event("1")))
    shown = catalogue.ad("1")["photos"][0]["sha256"]
    store(catalogue, shown)
    catalogue.commit(outcome(event("1", 2, photos=0, kind=EventKind.DELETED)))
    for photo in (digest.hex(), shown, "0" * 64):
        assert problem(catalogue.get(f"/v1/photos/{photo}")) == (404, "no_such_photo")
    for odd in ("../../etc/passwd", "..%2f..%2fetc%2fpasswd", shown.upper(), shown[:-1]):
        assert catalogue.get(f"/v1/photos/{odd}").status_code in (404, 422)


def test_a_photo_that_the_store_lost_is_a_problem(
    catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    """The log contains the path in the store; the response does not."""
    catalogue.commit(outcome(event("1")))
    image = catalogue.ad("1")["photos"][0]["image"]
    answer = catalogue.get(image)
    assert problem(answer) == (404, "photo_lost")
    assert str(catalogue.settings.home) not in answer.text
    assert "missing from the store" in caplog.text
