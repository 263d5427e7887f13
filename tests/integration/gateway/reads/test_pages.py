"""Pages of ads and failures over HTTP: complete, in order, and limited to the key's catalogs."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.edge.keys import make
from gateway.reads import pages
from ops.types import AdStatus
from resources.postgres.database import Database
from tests.support.batches import NOON, event, outcome
from tests.support.read_catalogue import DAGSTER, Catalogue, of, problem, read_catalogue, store


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Iterator[Catalogue]:
    with read_catalogue(database, tmp_path) as catalogue:
        yield catalogue


def at(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


def test_lists_page_through_every_ad_once_the_newest_first(catalogue: Catalogue) -> None:
    """For any catalogs and page size, also if timestamps are equal."""
    rows = [
        (catalog, f"{number:02}", at(number // 3))
        for number in range(12)
        for catalog in ("kg", "kz", "uz")
    ]
    catalogue.commit(*(outcome(of(catalog, ad_id), at=when) for catalog, ad_id, when in rows))
    newest = sorted(rows, key=lambda row: (row[2], row[1], row[0]), reverse=True)
    expected = [f"{catalog}/{ad_id}" for catalog, ad_id, _ in newest]
    for limit in (1, 5, 36, 200):
        assert catalogue.listed(limit=limit) == expected
    assert [len(page) for page in catalogue.pages("/v1/ads", limit=12)] == [12, 12, 12]
    of_one = [name for name in expected if name.startswith("kz/")]
    assert catalogue.listed(catalog="kz", limit=5) == of_one
    assert catalogue.listed(catalog="nowhere") == []
    span = {"since": at(1).isoformat(), "until": at(3).isoformat()}
    within = [f"{c}/{i}" for c, i, when in newest if at(1) <= when < at(3)]
    assert catalogue.listed(limit=4, **span) == within and len(within) == 18


def test_a_filtered_page_scans_a_limited_number_of_rows(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may then be short or empty and have a next one; all pages together are complete."""
    monkeypatch.setattr(pages, "MAX_SCANNED_ROWS", 5)
    lamps = {3, 4, 17}
    catalogue.commit(
        *(
            outcome(event(f"{n:02}"), at=at(n), label="lamp" if n in lamps else "chair")
            for n in range(20)
        )
    )
    found = list(catalogue.pages("/v1/ads", label="lamp", limit=2))
    assert [[row["ad_id"] for row in page] for page in found] == [["17"], [], [], ["04", "03"], []]
    assert len(catalogue.listed(label="chair", limit=3)) == 17


def test_a_page_of_a_filter_with_an_index_is_full(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rare status and a category have one: no row is scanned that does not match."""
    monkeypatch.setattr(pages, "MAX_SCANNED_ROWS", 5)
    rare = {3, 4, 17}
    catalogue.commit(
        *(
            replace(
                outcome(event(f"{n:02}", category="lamp" if n in rare else "chair"), at=at(n)),
                status=AdStatus.UNSCORED if n in rare else AdStatus.SCORED,
            )
            for n in range(20)
        )
    )
    for filters in ({"status": "unscored"}, {"filed": "lamp"}):
        found = list(catalogue.pages("/v1/ads", limit=2, **filters))
        assert [[row["ad_id"] for row in page] for page in found] == [["17", "04"], ["03"]]
    assert len(catalogue.listed(status="scored", limit=3)) == 17


def test_failures_are_listed_newest_first(catalogue: Catalogue) -> None:
    """Of photos and of whole events, without the bytes of invalid records."""
    of_kz = of("kz", "2", photos=event("2", photos=2).photos)
    catalogue.commit(outcome(event("1", photos=2)), outcome(of_kz))
    catalogue.commit(letters=2)
    expected = [
        "stream-1/ads/0/3",
        "stream-1/ads/0/2",
        "kz/2#1",
        "kg/1#1",
    ]
    for limit in (1, 2, 50):
        assert catalogue.listed("/v1/failures", limit=limit) == expected
    assert catalogue.listed("/v1/failures", kind="event") == expected[:2]
    assert catalogue.listed("/v1/failures", reason="fetch_timeout", limit=1) == expected[2:]
    assert catalogue.listed("/v1/failures", catalog="kg") == ["kg/1#1"]
    photo = next(catalogue.pages("/v1/failures", catalog="kg"))[0]
    del photo["failed_at"]
    assert photo == {
        "kind": "photo",
        "subject": "kg/1#1",
        "reason": "fetch_timeout",
        "detail": "too slow",
        "catalog": "kg",
        "ad_id": "1",
        "url": "https://p.example/1/1.jpg",
        "run": {"id": "run-1", "url": f"{DAGSTER}/runs/run-1"},
    }
    assert "nonsense" not in catalogue.get("/v1/failures").text


def test_a_key_for_some_catalogs_reads_only_those(catalogue: Catalogue) -> None:
    """In lists, for photos, and with any cursor."""
    for number, catalog in enumerate(("kg", "kz", "kg", "uz")):
        two = event(str(number), photos=2).photos
        catalogue.commit(outcome(of(catalog, str(number), photos=two), at=at(number)))
    catalogue.commit(letters=1)
    everything = next(catalogue.pages("/v1/ads"))
    cursor = catalogue.get("/v1/ads", params={"limit": 1}).json()["next"]
    catalogue.key = make(catalogue.database, "some", scopes=["read"], catalogs=["kg", "uz"]).text
    assert catalogue.listed(limit=1) == ["uz/3", "kg/2", "kg/0"]
    assert catalogue.listed(cursor=cursor) == ["kg/2", "kg/0"]
    assert catalogue.listed("/v1/failures", limit=1) == ["uz/3#1", "kg/2#1", "kg/0#1"]
    assert catalogue.listed("/v1/failures", kind="event") == []
    for path in ("/v1/ads/kz/1", "/v1/ads?catalog=kz", "/v1/failures?catalog=kz"):
        assert problem(catalogue.get(path)) == (403, "other_catalog")
    store(catalogue, *(row["sha256"] for row in everything))
    seen = {
        row["catalog"]: catalogue.get(f"/v1/photos/{row['sha256']}").status_code
        for row in everything
    }
    assert seen == {"kg": 200, "uz": 200, "kz": 404}


@pytest.mark.parametrize("path", ["/v1/ads", "/v1/failures"])
def test_an_invalid_cursor_is_refused(catalogue: Catalogue, path: str) -> None:
    """Invented, truncated, of another list, or with text that PostgreSQL can't store."""
    catalogue.commit(outcome(event("1", photos=2)), outcome(event("2", photos=2)))
    other = {"/v1/ads": "/v1/failures", "/v1/failures": "/v1/ads"}[path]
    own, of_other = (catalogue.get(p, params={"limit": 1}).json()["next"] for p in (path, other))
    kind = path.removeprefix("/v1/")
    wrong = [
        of_other,
        own[:-3],
        "x",
        "bm9uc2Vuc2U",
        packed("5"),
        packed("[" * 3_000),
        packed(f'["{kind}", 1e400, "a", "b"]'),
        packed(f'["{kind}", true, "a", "b"]'),
        packed(f'["{kind}", -1, "a", "b"]'),
        packed(f'["{kind}", {10**20}, "a", "b"]'),
        packed(f'["{kind}", 1, "a"]'),
        packed(f'["{kind}", 1, "a", 7]'),
        packed(f'["{kind}", 1, "a", "\\u0000"]'),
        packed(f'["{kind}", 1, "a", "\\ud800"]'),
    ]
    for cursor in wrong:
        assert problem(catalogue.get(path, params={"cursor": cursor})) == (422, "bad_cursor")
    assert problem(catalogue.get(path, params={"cursor": "not/urlsafe"})) == (422, "invalid")


def packed(text: str) -> str:
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "status=lost", "catalog=a/b", "since=5", "until=2026-05-01T12:00:00"],
)
def test_a_wrong_filter_is_refused(catalogue: Catalogue, query: str) -> None:
    assert problem(catalogue.get(f"/v1/ads?{query}")) == (422, "invalid")
