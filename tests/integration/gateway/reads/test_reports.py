"""The pictures in Dagster's metadata, over HTTP: who may see them, and how they are answered."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.edge.keys import make
from ops.pictures.previews import bars
from resources.postgres.database import Database
from resources.storage.report_pictures import ReportPictures, picture_name
from tests.support.odd_photos import jpeg, noisy
from tests.support.read_catalogue import Catalogue, problem, read_catalogue

RUN = "52fa6e1e-16df-4fda-b540-34b69ed35586"


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Iterator[Catalogue]:
    with read_catalogue(database, tmp_path) as catalogue:
        yield catalogue


def put(catalogue: Catalogue, title: str, image: bytes) -> str:
    name = picture_name("2026-11-28", "ad_photos", title, image=image)
    ReportPictures(catalogue.settings.resolved_store_url).put(RUN, name, image)
    return f"/v1/reports/{RUN}/{name}"


def test_a_picture_is_answered_as_it_is_now(catalogue: Catalogue) -> None:
    """A browser may show it in a page of Dagster's, and asks again whether it has changed."""
    drawn = {"labels": bars({"chair": 2}, title="Ads"), "sheet": jpeg(noisy(30, 20))}
    for title, image in drawn.items():
        path = put(catalogue, title, image)
        answer = catalogue.get(path)
        assert (answer.status_code, answer.content) == (200, image)
        kind = "image/jpeg" if title == "sheet" else "image/png"
        assert answer.headers["content-type"] == kind
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        etag = {"If-None-Match": answer.headers["etag"]}
        assert catalogue.get(path, headers=etag).status_code == 304
        put(catalogue, title, image + b"changed")
        assert catalogue.get(path, headers=etag).content == image + b"changed"


def test_a_key_for_some_catalogs_is_refused(catalogue: Catalogue) -> None:
    path = put(catalogue, "sheet", b"\xff\xd8")
    some = make(catalogue.database, "kg only", scopes=["read"], catalogs=["kg"]).text
    assert problem(catalogue.get(path, some)) == (403, "other_catalog")
    assert catalogue.get(path, "lv_nobody_nothing").status_code == 401


def test_what_is_no_picture_is_not_found(catalogue: Catalogue) -> None:
    """Not in the store, or not a picture's name: nothing else of the store can be read."""
    put(catalogue, "sheet", b"\xff\xd8")
    (Path(catalogue.settings.resolved_store_url) / "secret.png").write_bytes(b"secret")
    assert problem(catalogue.get(f"/v1/reports/{RUN}/none.png")) == (404, "no_such_picture")
    for odd in ("..%2fsecret.png", "../secret.png", "secret.txt", "Secret.png", "a%00.png"):
        assert catalogue.get(f"/v1/reports/{RUN}/{odd}").status_code in (404, 422)
