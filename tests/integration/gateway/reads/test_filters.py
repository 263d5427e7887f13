"""The filters of the lists over HTTP: each alone, together, and over several pages."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ops.types import AdStatus, EventKind
from resources.postgres.database import Database
from tests.support.batches import NOON, event, outcome
from tests.support.read_catalogue import Catalogue, of, problem, read_catalogue


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Iterator[Catalogue]:
    with read_catalogue(database, tmp_path) as catalogue:
        yield catalogue


def hour(number: int) -> datetime:
    return NOON + timedelta(hours=number)


@pytest.fixture
def several(catalogue: Catalogue) -> Catalogue:
    """Ads of every kind, an hour apart, from noon of 1 May on."""
    catalogue.commit(
        outcome(event("right", category="chair"), label="chair", at=hour(0)),
        outcome(event("wrong", category="sofa"), label="chair", at=hour(1)),
        outcome(event("unfiled", category=None), label="lamp", at=hour(2)),
        outcome(event("half", category="lamp", photos=2), label="lamp", at=hour(3)),
        replace(
            outcome(event("unscored", category="sofa"), at=hour(13)),
            status=AdStatus.UNSCORED,
            predictions={},
        ),
        outcome(of("kz", "right", category="chair"), label="chair", at=hour(14)),
        outcome(event("gone", 2, photos=0, kind=EventKind.DELETED), at=hour(15)),
    )
    catalogue.execute("UPDATE lalafo.predictions SET score = 0.3 WHERE label = 'lamp'")
    catalogue.execute(
        "INSERT INTO lalafo.labels (catalog, ad_id, task, label, given_by) "
        "VALUES ('kg', 'wrong', 'category', 'sofa', 'm'), ('kg', 'right', 'other', 'x', 'm')"
    )
    return catalogue


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "kg/gone kz/right kg/unscored kg/half kg/unfiled kg/wrong kg/right"),
        ({"label": "chair"}, "kz/right kg/wrong kg/right"),
        ({"filed": "sofa"}, "kg/unscored kg/wrong"),
        ({"agrees": "true"}, "kz/right kg/half kg/right"),
        ({"agrees": "false"}, "kg/wrong"),
        ({"max_score": "0.5"}, "kg/half kg/unfiled"),
        ({"max_score": "0.75"}, "kz/right kg/half kg/unfiled kg/wrong kg/right"),
        ({"failed": "true"}, "kg/half"),
        ({"failed": "false", "status": "scored"}, "kz/right kg/unfiled kg/wrong kg/right"),
        ({"labelled": "true"}, "kg/wrong"),
        ({"labelled": "false", "label": "chair"}, "kz/right kg/right"),
        ({"status": "unscored"}, "kg/unscored"),
        ({"status": "unscored", "filed": "chair"}, ""),
        ({"status": "deleted"}, "kg/gone"),
        ({"day": "2026-05-01"}, "kg/half kg/unfiled kg/wrong kg/right"),
        ({"day": "2026-05-02", "catalog": "kz"}, "kz/right"),
        ({"day": "2026-05-02", "until": hour(14).isoformat()}, "kg/unscored"),
        ({"label": "chair", "since": hour(1).isoformat()}, "kz/right kg/wrong"),
        ({"label": "chair", "filed": "chair", "catalog": "kg"}, "kg/right"),
        ({"label": "no such label"}, ""),
    ],
)
def test_filters_select_ads(several: Catalogue, filters: dict[str, str], expected: str) -> None:
    """With any page size."""
    for limit in (1, 2, 50):
        assert several.listed(limit=limit, **filters) == expected.split()


@pytest.mark.parametrize("name", ["filed", "label"])
def test_a_category_stands_for_those_below_it(catalogue: Catalogue, name: str) -> None:
    """By what sellers chose and by what is predicted, with any page size, with another filter."""
    paths = ["shoes", "shoes/boots", "shoes/boots/high", "shoes2", "shoe", "Shoes/boots", "a/shoes"]
    catalogue.commit(
        *(
            outcome(event(str(n), category=path), label=path, at=hour(n))
            for n, path in enumerate(paths)
        )
    )
    for limit in (1, 2, 50):
        for more in ({}, {"status": "scored"}, {"catalog": "kg"}):
            listed = catalogue.listed(limit=limit, **{name: "shoes"}, **more)
            assert listed == ["kg/2", "kg/1", "kg/0"]
        assert catalogue.listed(limit=limit, **{name: "shoes/boots"}) == ["kg/2", "kg/1"]
        assert catalogue.listed(limit=limit, **{name: "shoes/"}) == []


def test_a_row_has_its_labels_and_failed_photos(several: Catalogue) -> None:
    rows = {f"{row['catalog']}/{row['ad_id']}": row for row in next(several.pages("/v1/ads"))}
    assert rows["kg/wrong"]["labels"] == {"category": "sofa"}
    assert rows["kg/right"]["labels"] == {"other": "x"} and rows["kg/half"]["labels"] == {}
    failed = {name for name, row in rows.items() if row["failed_photos"]}
    assert failed == {"kg/half"} and rows["kg/half"]["failed_photos"] == 1


def test_a_prediction_filter_follows_the_live_release(several: Catalogue) -> None:
    """Predictions of other releases, and of older revisions, match nothing."""
    several.execute("UPDATE lalafo.predictions SET revision = 0 WHERE ad_id = 'wrong'")
    assert several.listed(label="chair") == ["kz/right", "kg/right"]
    several.execute("DELETE FROM lalafo.active_releases")
    assert several.listed(label="chair") == []


def test_failures_are_filtered_by_time(catalogue: Catalogue) -> None:
    catalogue.commit(*(outcome(event(str(n), photos=2)) for n in range(4)))
    for n in range(4):
        catalogue.execute(
            "UPDATE lalafo.failures SET failed_at = %s WHERE ad_id = %s", hour(6 * n), str(n)
        )
    assert catalogue.listed("/v1/failures", day="2026-05-02", limit=1) == ["kg/3#1", "kg/2#1"]
    span = {"since": hour(6).isoformat(), "until": hour(18).isoformat()}
    for more in ({}, {"catalog": "kg"}, {"reason": "fetch_timeout"}):
        assert catalogue.listed("/v1/failures", limit=1, **span, **more) == ["kg/2#1", "kg/1#1"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"agrees": "yes"},
        {"labelled": "1"},
        {"max_score": "1.5"},
        {"max_score": "nan"},
        {"day": "1777593600"},
        {"day": "2026-02-30"},
        {"day": "2026-05-01T00:00:00Z"},
        {"label": ""},
        {"label": "x" * 201},
        {"filed": "a\x00"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_wrong_filter_is_refused(catalogue: Catalogue, wrong: dict[str, str]) -> None:
    status, kind = problem(catalogue.get("/v1/ads", params=wrong))
    assert (status, kind in ("invalid", "unknown_parameter")) == (422, True)
