"""The live release over HTTP: its name and labels, before the first one and after a promotion."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.edge.keys import make
from gateway.schemas.releases import LiveReleaseOut
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.releases.registry import RegisteredRelease, register
from tests.support.batches import BACKBONE, RELEASE
from tests.support.read_catalogue import Catalogue, problem, read_catalogue


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Iterator[Catalogue]:
    with read_catalogue(database, tmp_path) as catalogue:
        yield catalogue


def test_the_labels_of_the_live_release_are_returned(catalogue: Catalogue) -> None:
    """By task, sorted; a release that is not live is not returned."""
    taxonomy = {"category": ["sofa", "chair"], "mood": ["calm"]}
    register(
        catalogue.database,
        RegisteredRelease("tiny-2", "2" * 64, BACKBONE, {"taxonomy": taxonomy}),
    )
    before = catalogue.get("/v1/releases/live").json()
    assert (before["release"], before["tasks"]) == (RELEASE, {})
    make_live(catalogue.database, "tiny-2")
    answer = catalogue.get("/v1/releases/live")
    LiveReleaseOut.model_validate_json(answer.content)
    found = answer.json()
    assert found["release"] == "tiny-2" and found["created_at"].endswith("+00:00")
    assert found["tasks"] == {
        "category": {"labels": ["chair", "sofa"]},
        "mood": {"labels": ["calm"]},
    }


def test_without_a_live_release_the_answer_is_empty(catalogue: Catalogue) -> None:
    catalogue.execute("DELETE FROM lalafo.active_releases")
    answer = catalogue.get("/v1/releases/live")
    assert answer.json() == {"release": None, "created_at": None, "tasks": {}}


def test_the_scope_read_is_required(catalogue: Catalogue) -> None:
    """A key that is limited to some catalogs may read it: labels belong to no catalog."""
    some = make(catalogue.database, "some", scopes=["read"], catalogs=["kg"]).text
    assert catalogue.get("/v1/releases/live", key=some).status_code == 200
    writer = make(catalogue.database, "writer", scopes=["ingest"]).text
    assert problem(catalogue.get("/v1/releases/live", key=writer))[0] == 403
