"""The live release over HTTP: its labels, and what is answered while none is live."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.edge.keys import make
from gateway.schemas.releases import LiveReleaseOut
from resources.inference.loading import install
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.storage.releases import ReleaseStore
from tests.support.random_release import LABELS, random_release
from tests.support.read_catalogue import DAGSTER, Catalogue, problem, read_catalogue

PATH = "/v1/releases/live"


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Iterator[Catalogue]:
    with read_catalogue(database, tmp_path) as catalogue:
        yield catalogue


def test_the_live_release_and_its_labels(catalogue: Catalogue) -> None:
    store = ReleaseStore(catalogue.settings.resolved_store_url)
    release = random_release()
    before = catalogue.get(PATH)
    name = install(catalogue.database, store, release).name
    assert catalogue.get(PATH).json() == before.json()  # installed, not live
    make_live(catalogue.database, name)
    stale = catalogue.get(PATH, headers={"If-None-Match": before.headers["etag"]})
    assert stale.status_code == 200
    found = LiveReleaseOut.model_validate(stale.json())
    assert found.release.id == name
    assert found.release.url == f"{DAGSTER}/assets/model_release"
    assert found.labels == {"category": sorted(LABELS)}
    assert found.backbone == release.manifest.backbone
    assert found.weights == release.manifest.weights_source
    again = catalogue.get(PATH, headers={"If-None-Match": stale.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_key_of_one_catalog_may_read_it(catalogue: Catalogue) -> None:
    """A release belongs to no catalog; without the scope `read` it is refused."""
    narrow = make(catalogue.database, "narrow", scopes=["read"], catalogs=["kg"]).text
    writer = make(catalogue.database, "writer", scopes=["ingest"]).text
    assert catalogue.get(PATH, key=narrow).status_code == 200
    assert catalogue.get(PATH, key=writer).status_code == 403


def test_no_live_release_is_a_problem_with_the_command(catalogue: Catalogue) -> None:
    catalogue.execute("DELETE FROM lalafo.active_releases")
    answer = catalogue.get(PATH)
    assert problem(answer) == (404, "no_release")
    assert "lalafo releases install starter" in answer.json()["detail"]
